"""The virtual fleet as a driver. An attempt is one sleeping task; an idle device is one object and nothing else."""

from __future__ import annotations

import asyncio
import heapq
import json
import math
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from agents.harness.runtimes import NAMES
from agents.virtual import model
from agents.virtual.model import Breakage, Condition, Course
from agents.virtual.profile import Kind, Profile
from farm.errors import DeviceError, InfrastructureError
from farm.types import Device, DeviceFacts, DeviceReadings, DeviceState, Lease, Measurement, RecoveryStep, Telemetry

NOT_RUN = "virtual device: the artifact is not run, figures come from a model (docs/virtual-fleet.md)"


@dataclass(frozen=True)
class _Handle:
    """All that a later process needs to tell how the attempt goes. ``at_seconds``: monotonic."""

    device_id: str
    at_seconds: float
    started_at: str
    temperature_celsius: float
    charge_ratio: float

    @property
    def before(self) -> Condition:
        return Condition(self.temperature_celsius, self.charge_ratio)


class VirtualDriver:
    """``agent``: its name, from which the ids are made. ``clock``: monotonic seconds.

    What an attempt does follows from the profile, the lease and the handle alone, so that an agent that is started
    again takes it up where it would be by now. The warmth and charge of idle devices, their absences and defects are
    kept in memory only: a new process finds all of them rested, present and whole.
    """

    name = "virtual"
    needs_files = False

    def __init__(self, agent: str, count: int, profile: Profile, clock: Callable[[], float] = time.monotonic) -> None:
        self._profile, self._clock = profile, clock
        # Builds on this machine disturb nothing here: the host is another one.
        host = f"virtual-{socket.gethostname()}"
        kinds = [profile.kind_of(number) for number in range(count)]
        facts = {kind.name: _facts(kind) for kind in profile.kinds}
        devices = [
            Device(
                id=f"{agent}-virtual-{number:04d}",
                agent=agent,
                host=host,
                facts=facts[kind.name],
                labels=kind.labels,
                recovery=("reconnect", "reboot"),
                state=DeviceState.ONLINE,
            )
            for number, kind in enumerate(kinds)
        ]
        self._devices = {device.id: device for device in devices}
        self._kinds = {device.id: kind for device, kind in zip(devices, kinds, strict=True)}
        self._shown, self._changed = tuple(devices), False
        self._away_until_seconds: dict[str, float] = {}
        self._hot: dict[str, tuple[float, Device]] = {}  # until when, and how it is shown
        self._changes: list[tuple[float, str]] = []  # heap of (when, device): it may be back or cool
        self._used: dict[str, tuple[Condition, float]] = {}  # how a device was left, and when
        self._broken: dict[str, Breakage] = {}

    def discover(self) -> tuple[Device, ...]:
        now = self._clock()
        while self._changes and self._changes[0][0] <= now:
            device_id = heapq.heappop(self._changes)[1]
            if self._away_until_seconds.get(device_id, math.inf) <= now:
                del self._away_until_seconds[device_id]
            if device_id in self._hot and self._hot[device_id][0] <= now:
                del self._hot[device_id]
            self._changed = True
        if self._changed:
            present = (device for device in self._devices.values() if device.id not in self._away_until_seconds)
            self._shown = tuple(self._hot[device.id][1] if device.id in self._hot else device for device in present)
            self._changed = False
        return self._shown

    def readings(self) -> dict[str, DeviceReadings]:
        """While a device measures, as it was before."""
        now = self._clock()
        return {device.id: self._read(device.id, now) for device in self.discover()}

    def _read(self, device_id: str, now: float) -> DeviceReadings:
        kind = self._kinds[device_id]
        condition = Condition.rested(kind)
        if device_id in self._used:
            left, at_seconds = self._used[device_id]
            condition = model.passed(kind, left, self._simulated(now - at_seconds), busy=False)
        battery_ratio = condition.charge_ratio if kind.battery else None
        return DeviceReadings(temperatures_celsius={"soc": condition.temperature_celsius}, battery_ratio=battery_ratio)

    async def launch(self, lease: Lease, files: Mapping[str, Path], folder: Path) -> str:
        kind = self._kind(lease.device_id)
        if lease.device_id in self._broken:
            raise _no_answer(lease.device_id)
        condition, now = Condition.rested(kind), self._clock()
        if lease.device_id in self._used:
            left, at_seconds = self._used[lease.device_id]
            condition = model.passed(kind, left, self._simulated(now - at_seconds), busy=False)
        started_at = datetime.now(UTC).isoformat()
        return json.dumps(asdict(_Handle(lease.device_id, now, started_at, **asdict(condition))))

    async def collect(self, lease: Lease, handle: str, folder: Path, *, adopted: bool) -> Measurement:
        kind, begun = self._kind(lease.device_id), _Handle(**json.loads(handle))
        course = model.course(kind, self._profile.seed, lease, begun.before)
        seconds = course.seconds * self._profile.time_scale
        # Not over the whole time again where the machine was restarted, and with it the clock.
        await asyncio.sleep(min(seconds, begun.at_seconds + seconds - self._clock()))
        self._leave(lease.device_id, course.after)
        if broken := model.breakage(kind, self._profile.seed, lease):
            self._broken[lease.device_id] = broken
        if course.away_seconds:
            self._send_away(lease.device_id, course.away_seconds)
        if course.end == "crashed":
            raise DeviceError("The virtual harness crashed (SIGSEGV).", remedy="The profile's crash_ratio asks for it.")
        if course.end == "timed-out":
            raise DeviceError(
                f"The virtual harness was killed after {lease.protocol.timeout_seconds:g} s.",
                remedy="The profile's timeout_ratio asks for it, or its latencies are too long for the protocol.",
            )
        if course.end == "went-offline":
            raise InfrastructureError(
                f"{lease.device_id} went offline.", remedy="The job is tried again; the profile's offline_ratio asks."
            )
        return _measurement(kind, lease, begun, course)

    def kill(self, handle: str) -> None:
        begun = _Handle(**json.loads(handle))
        if kind := self._kinds.get(begun.device_id):
            busy_seconds = self._simulated(self._clock() - begun.at_seconds)
            self._leave(begun.device_id, model.passed(kind, begun.before, busy_seconds, busy=True))

    async def check(self, device_id: str) -> str:
        self._kind(device_id)
        if device_id in self._broken:
            raise _no_answer(device_id)
        if device_id in self._away_until_seconds:
            raise InfrastructureError(f"{device_id} is offline.", remedy="It comes back by itself.")
        return "virtual device: not broken (nothing was run)"

    async def recover(self, device_id: str, step: RecoveryStep) -> None:
        self._kind(device_id)
        seconds = model.RECONNECT_SECONDS if step == "reconnect" else model.REBOOT_SECONDS
        await asyncio.sleep(seconds * self._profile.time_scale)
        if (broken := self._broken.get(device_id)) and model.mends(step, broken):
            del self._broken[device_id]

    async def close(self) -> None:
        """Nothing is held."""

    def _simulated(self, seconds: float) -> float:
        return max(0.0, seconds) / self._profile.time_scale

    def _kind(self, device_id: str) -> Kind:
        if device_id not in self._kinds:
            raise InfrastructureError(
                f"{device_id} is no longer part of the virtual fleet.", remedy="It was started with fewer devices."
            )
        return self._kinds[device_id]

    def _leave(self, device_id: str, condition: Condition) -> None:
        """Note how an attempt leaves the device, and keep the next one off while it is too hot."""
        self._used[device_id] = condition, self._clock()
        thermal = self._kinds[device_id].thermal
        if cooling_seconds := model.cooling_seconds(thermal, condition.temperature_celsius):
            blocked = f"too hot: {condition.temperature_celsius:.1f} °C > {thermal.start_below_celsius:g} °C"
            until_seconds = self._after(device_id, cooling_seconds)
            self._hot[device_id] = until_seconds, self._devices[device_id].model_copy(update={"blocked": blocked})

    def _send_away(self, device_id: str, simulated_seconds: float) -> None:
        self._away_until_seconds[device_id] = self._after(device_id, simulated_seconds)

    def _after(self, device_id: str, simulated_seconds: float) -> float:
        """When so much time has passed: ``discover`` looks at the device now and then."""
        self._changed = True
        at_seconds = self._clock() + simulated_seconds * self._profile.time_scale
        heapq.heappush(self._changes, (at_seconds, device_id))
        return at_seconds


def _no_answer(device_id: str) -> InfrastructureError:
    return InfrastructureError(
        f"{device_id} does not answer (virtual: it is broken).", remedy="The profile's break_ratio asks for it."
    )


def _facts(kind: Kind) -> DeviceFacts:
    return DeviceFacts(
        platform=kind.platform,
        device_model=f"virtual-{kind.name}",
        soc=kind.soc,
        abi=kind.abi,
        os_version=kind.os_version,
        memory_bytes=int(kind.memory_gib * 2**30),
        cpu_count=kind.cpu_count,
        runtimes=NAMES,
        virtual=True,
    )


def _measurement(kind: Kind, lease: Lease, begun: _Handle, course: Course) -> Measurement:
    figures = ["outputs", "parity", "memory_baseline_bytes", "memory_peak_bytes", "memory_growth_bytes", "load_cost"]
    absent = dict.fromkeys([*figures, *(["profile"] if lease.protocol.profile else [])], NOT_RUN)
    clock_hertz = kind.clock_ghz * 1e9
    lowest_hertz = clock_hertz * course.lowest_clock_ratio
    return Measurement(
        attempt_id=lease.attempt_id,
        job_id=lease.job_id,
        epoch=lease.epoch,
        latency_samples_seconds=course.samples_seconds,
        warmup_samples_seconds=course.warmup_seconds,
        import_seconds=course.import_seconds,
        load_seconds=course.load_seconds,
        first_inference_seconds=course.first_seconds,
        memory_baseline_bytes=None,
        memory_peak_bytes=None,
        parity=None,
        non_finite_outputs=0 if course.finite else 1,
        stopped_by=course.stopped_by,
        cpus_allowed=tuple(range(min(lease.scenario.threads, kind.cpu_count))),
        runtime_versions={"virtual": model.VERSION},
        telemetry=Telemetry(
            background_cpu_ratio=0,  # the model knows no other work
            cpu_frequency_hertz_min=lowest_hertz,
            cpu_frequency_hertz_max=clock_hertz,
            cpu_frequency_limit_hertz=lowest_hertz,
            cpu_frequency_maximum_hertz=clock_hertz,
            temperature_start_celsius=begun.temperature_celsius,
            temperature_max_celsius=course.hottest_celsius,
            absent={"steal_ratio": "virtual device: not part of its model"},
        ),
        started_at=datetime.fromisoformat(begun.started_at),
        absent=absent,
        simulated=True,
        batch=lease.batch,
    )
