"""Android phones and emulators behind adb: the same harness as on hosts, through the portable runtime.

A phone that is pulled goes on measuring; its attempt is collected when it is back, while its time-out lasts. What runs
or lies on a phone and belongs to no attempt that is known here is ended and removed when the phone is plugged in, and
before every launch.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import socket
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agents.android import adb, handset
from agents.android import attempt as attempts
from agents.android.adb import Seen, Server
from agents.android.attempt import Provision
from agents.android.handset import Handset
from agents.android.link import AdbPhone
from agents.android.metering import Sampling
from agents.android.roster import Roster
from agents.drivers import cores, outcome, phonecheck
from agents.phone_runtime import bundle as bundles
from agents.phone_runtime.bundle import Bundle, Layer
from farm.config import Settings
from farm.errors import DeviceError, DeviceTimeout, FarmError, InfrastructureError, LinkLost, OutputCut
from farm.types import Device, DeviceFacts, DeviceReadings, DeviceState, Lease, Measurement, RecoveryStep

log = logging.getLogger(__name__)

_REFRESH_SECONDS = 30.0
_RETRY_SECONDS = 1.0
_RESUMES = 5  # of a launch whose link is cut meanwhile
_AWAY_SECONDS = 60.0  # that a launch waits for a phone which was pulled
_UNKNOWN = DeviceFacts(
    platform="android",
    device_model="unknown",
    soc="unknown",
    abi="unknown",
    os_version="unknown",
    memory_bytes=0,
    cpu_count=0,
)


@dataclass
class _Place:
    """A line of an adb server's list, and what came of it."""

    server: Server
    seen: Seen
    device_id: str
    facts: DeviceFacts = _UNKNOWN
    problem: str = ""  # why it cannot be used, beside its state
    task: asyncio.Task[None] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class _Handle:
    """All that a later process needs to collect an attempt. ``attempt``: its id on the phone. ``energy_absent``: why
    its energy was not to be measured."""

    device: str
    attempt: str
    facts: DeviceFacts
    idle_seconds: float
    energy_absent: str = ""

    def text(self) -> str:
        return json.dumps({**vars(self), "facts": self.facts.model_dump(mode="json")})

    @classmethod
    def read(cls, text: str) -> _Handle:
        fields = json.loads(text)
        return cls(**{**fields, "facts": DeviceFacts.model_validate(fields["facts"])})


class AndroidDriver:
    """Devices are looked for from the first ``discover`` inside an event loop on. ``close`` leaves attempts running."""

    name = "android"
    needs_files = True

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.state_dir / "agents" / settings.agent_name / "phones"
        self._servers = tuple(_server(address) for address in settings.agent_adb_servers)
        self._places: dict[tuple[str, str], _Place] = {}
        self._handsets: dict[str, Handset] = {}
        self._known = _Known(self._folder / "known.json")
        self._harness: Layer | None = None
        self._bundles: dict[str, Bundle | None] = {}
        self._roster: Roster | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._shown: tuple[Device, ...] = ()

    # --- devices --------------------------------------------------------------------------------------

    def discover(self) -> tuple[Device, ...]:
        if self._roster is None:
            with contextlib.suppress(RuntimeError):  # no event loop: somebody only looks at what drivers there are
                asyncio.get_running_loop()
                self._roster = Roster(self._servers, self._take)
                self._go(self._refresh())
        return self._shown

    async def close(self) -> None:
        tasks = [*self._tasks, *(place.task for place in self._places.values() if place.task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._roster:
            await self._roster.close()

    def _take(self, server: Server, listed: tuple[Seen, ...]) -> None:
        """All that a server has now."""
        now = {(str(server), seen.serial): seen for seen in listed}
        for key in [key for key in self._places if key[0] == str(server) and now.get(key) != self._places[key].seen]:
            self._forget(self._places.pop(key))
        for key, seen in now.items():
            if key not in self._places:
                device_id, facts = self._known.of(seen.serial)
                place = _Place(server, seen, device_id or handset.device_id("", seen.serial, "", emulator=False), facts)
                self._places[key] = place
                if seen.state == "device":
                    place.task = asyncio.create_task(self._attach(place))
        self._show()

    def _forget(self, place: _Place) -> None:
        if place.task:
            place.task.cancel()
        held = self._handsets.get(place.device_id)
        if held and held.phone and held.phone.serial == place.seen.serial and held.phone.server is place.server:
            held.detach()

    async def _attach(self, place: _Place) -> None:
        """Until it is known what it is, then see to it that nothing of ours is left there but what is known."""
        phone = AdbPhone(place.server, place.seen.serial)
        while True:
            try:
                facts, own_serial = await handset.identify(phone)
                place.facts = facts
                place.device_id = handset.device_id(
                    self._settings.agent_name, place.seen.serial, own_serial, emulator=facts.emulator
                )
                held = self._handset(place.device_id)
                if held.phone is not None:
                    place.problem = f"it is attached as {held.phone.serial}, too"
                    break
                place.problem = ""
                self._known.note(place.seen.serial, place.device_id, facts)
                self._bundles[facts.abi] = await asyncio.to_thread(self._bundle, facts.abi)
                held.attach(phone)
                async with held.lock:
                    await held.tidy()
                    await held.meters.prepare(phone)
                break
            except FarmError as error:
                place.problem = error.message
                log.warning("%s: %s", place.seen.serial, error)
                self._show()
                await asyncio.sleep(_RETRY_SECONDS)
        self._show()

    def _handset(self, device_id: str) -> Handset:
        if device_id not in self._handsets:
            self._handsets[device_id] = Handset(device_id, self._folder)
        return self._handsets[device_id]

    async def _refresh(self) -> None:
        """Readings of phones that lie idle; one that measures is left in peace."""
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            for held in [held for held in self._handsets.values() if held.phone and not held.attempts]:
                try:
                    async with held.lock:
                        if not held.attempts and held.phone:
                            await held.tidy()
                except FarmError as error:
                    log.warning("%s: %s", held.id, error)
            for abi in self._bundles:
                self._bundles[abi] = await asyncio.to_thread(self._bundle, abi)
            self._show()

    def _show(self) -> None:
        """What ``discover`` answers; the same object while nothing has changed. Of one phone by two ways the one that
        is in use counts, else the one that is better off."""
        shown: dict[str, Device] = {}
        for place in sorted(self._places.values(), key=lambda place: (place.problem, place.seen.state != "device")):
            if place.seen.state == "device" and place.facts is _UNKNOWN and not place.problem:
                continue  # it is being looked at: a moment
            shown.setdefault(place.device_id, self._device(place))
        devices = tuple(shown[id] for id in sorted(shown))
        if devices != self._shown:
            self._shown = devices

    def _device(self, place: _Place) -> Device:
        facts, readings = place.facts, DeviceReadings()
        bundle = self._bundles.get(facts.abi)
        if place.seen.state != "device":
            blocked = f"{place.seen.state}: {adb.advice(place.seen.state)}"
        elif place.problem:
            blocked = place.problem
        elif self._handset(place.device_id).phone is None:
            blocked = "it is being looked at"
        else:
            readings = self._handset(place.device_id).readings
            blocked = self._obstacle(readings)
            if bundle is None:
                blocked = f"no phone runtime for {facts.abi}: `farm phone-runtime build --abi {facts.abi}`"
        return Device(
            id=place.device_id,
            agent=self._settings.agent_name,
            host=socket.gethostname(),
            facts=facts.model_copy(update={"runtimes": bundle.runtimes if bundle else ()}),
            blocked=blocked,
            readings=readings if place.seen.state == "device" else None,
            recovery=("reconnect", "reboot"),
            state=DeviceState.ONLINE,
        )

    def _obstacle(self, readings: DeviceReadings) -> str:
        settings = self._settings
        return handset.obstacle(
            readings,
            max_start_celsius=settings.agent_phone_max_start_celsius,
            min_battery_ratio=settings.agent_phone_min_battery_ratio,
            max_thermal_status=settings.agent_phone_max_start_thermal_status,
        )

    def _bundle(self, abi: str) -> Bundle | None:
        try:
            return bundles.find(self._settings.phone_runtime_dir, abi)
        except InfrastructureError as error:
            log.warning("%s", error)
            return None

    # --- attempts -------------------------------------------------------------------------------------

    async def launch(self, lease: Lease, files: Mapping[str, Path], folder: Path) -> str:
        place = self._place(lease.device_id)
        held = self._handset(lease.device_id)
        provision = await self._provision(place.facts.abi)
        cpus = cores.pinned(lease.scenario, range(place.facts.cpu_count), place.facts.clusters, lease.device_id)
        async with held.lock:
            try:
                attempt, sampling = await self._launched(held, place.facts, lease, files, folder, provision, cpus)
            except BaseException:
                self._go(self._tidied(held))
                raise
        handle = _Handle(lease.device_id, attempt, place.facts, sampling.idle_seconds)
        if refusal := held.meters.refusal(place.facts, held.readings):
            handle = replace(handle, energy_absent=refusal)
        return handle.text()

    async def _launched(
        self,
        held: Handset,
        facts: DeviceFacts,
        lease: Lease,
        files: Mapping[str, Path],
        folder: Path,
        provision: Provision,
        cpus: list[int],
    ) -> tuple[str, Sampling]:
        """Its id on the phone. Every try has its own: nobody knows what one that was cut has started, and the next
        sweeps it away."""
        resumes = 0
        while True:
            attempt = f"{lease.attempt_id}-{secrets.token_hex(4)}"
            sampling = held.meters.sampling(lease, attempt, cpus, facts, held.readings)
            held.attempts.add(attempt)
            try:
                await attempts.launch(held, attempt, lease, files, folder, provision, cpus, sampling)
                return attempt, sampling
            except BaseException as error:
                held.attempts.discard(attempt)
                if not isinstance(error, LinkLost | OutputCut) or resumes == _RESUMES:
                    raise
                log.warning("%s: %s; it is waited for", held.id, error)
            resumes += 1
            await asyncio.sleep(_RETRY_SECONDS)
            try:
                await asyncio.wait_for(held.back(), _AWAY_SECONDS)
            except TimeoutError:
                raise self._away(held.id, f"for {_AWAY_SECONDS:g} s while it was prepared") from None

    async def collect(self, lease: Lease, handle: str, folder: Path, *, adopted: bool) -> Measurement:
        begun = _Handle.read(handle)
        held, attempt = self._handset(begun.device), begun.attempt
        held.attempts.add(attempt)
        limit_seconds = lease.timeout_seconds + 2 * begun.idle_seconds
        troubles: list[FarmError] = []
        try:
            async with asyncio.timeout(limit_seconds):
                end = await self._fetched(held, attempt, folder, limit_seconds, troubles)
        except TimeoutError:
            error = await self._overdue(held, attempt, lease, folder, troubles)
            self.kill(handle)
            raise error from None
        held.attempts.discard(attempt)
        async with held.lock:
            await self._tidied(held, locked=True)
        if end == "gone":
            raise InfrastructureError(
                f"{held.id} has nothing of the attempt any more.", remedy="Its storage was cleared; it is tried again."
            )
        if end == "full":
            raise DeviceError(
                f"The storage of {held.id} was full when its attempt ended.", remedy="Free storage on it."
            )
        read = held.meters.readout(folder, begun.facts, rested=begun.idle_seconds > 0)
        measured = outcome.measurement(lease, folder, _exit_code(end), read.telemetry)
        absent = dict(measured.absent)
        if refusal := read.energy_absent or begun.energy_absent:
            absent["energy"] = refusal
        return measured.model_copy(update={"power": read.power, "absent": absent})

    async def _fetched(
        self, held: Handset, attempt: str, folder: Path, timeout_seconds: float, troubles: list[FarmError]
    ) -> str:
        """However often the phone goes away meanwhile. ``troubles``: is given why it was not fetched so far."""
        while True:
            await held.back()
            try:
                return await attempts.fetch(held, attempt, folder, timeout_seconds)
            except (LinkLost, OutputCut) as error:
                log.info("%s: %s", held.id, error)
                troubles.append(error)
            except InfrastructureError:
                if held.phone is not None:
                    raise
            await asyncio.sleep(_RETRY_SECONDS)

    async def _overdue(
        self, held: Handset, attempt: str, lease: Lease, folder: Path, troubles: list[FarmError]
    ) -> FarmError:
        """Why it has not ended in its time."""
        if held.phone is None:
            return self._away(held.id, f"when its attempt's {lease.timeout_seconds:g} s were over")
        try:
            if await attempts.glimpse(held, attempt, folder) and troubles:
                return troubles[-1]
        except (LinkLost, DeviceTimeout, OutputCut) as error:
            return error
        return outcome.too_long(lease, folder)

    def kill(self, handle: str) -> None:
        begun = _Handle.read(handle)
        held = self._handset(begun.device)
        held.attempts.discard(begun.attempt)
        self._go(self._tidied(held))

    async def _tidied(self, held: Handset, *, locked: bool = False) -> None:
        """After an attempt. A phone that is away is tidied when it is back."""
        try:
            async with contextlib.nullcontext() if locked else held.lock:
                if held.phone is not None:
                    await held.tidy()
        except FarmError as error:
            log.warning("%s could not be tidied now: %s", held.id, error)
        self._show()

    # --- health ---------------------------------------------------------------------------------------

    async def check(self, device_id: str) -> str:
        place = self._place(device_id)
        held = self._handset(device_id)
        bundle = self._bundles.get(place.facts.abi)
        async with held.lock:
            return await phonecheck.run(held, bundle)

    async def recover(self, device_id: str, step: RecoveryStep) -> None:
        held = self._handset(device_id)
        place = next((place for place in self._places.values() if place.device_id == device_id), None)
        if place is None:
            await held.back()  # after its power was cut, say
            return
        async with held.lock:
            await phonecheck.recover(held, place.server, place.seen.serial, step)

    # --- inside ---------------------------------------------------------------------------------------

    def _place(self, device_id: str) -> _Place:
        """Raises InfrastructureError where it is not here, or not as it should be."""
        held = self._handsets.get(device_id)
        for place in self._places.values():
            if place.device_id == device_id and held and held.phone and held.phone.serial == place.seen.serial:
                return place
        raise self._away(device_id, "when the job was to start")

    def _away(self, device_id: str, when: str) -> LinkLost:
        shown = next((device for device in self._shown if device.id == device_id), None)
        why = f": it is {shown.blocked.rstrip('.')}" if shown and shown.blocked else ""
        return LinkLost(
            f"{device_id} was away {when}{why}.", remedy="Plug it in or switch it on again; the job is tried again."
        )

    async def _provision(self, abi: str) -> Provision:
        folder = self._settings.phone_runtime_dir
        bundle = self._bundles.get(abi)
        if bundle is None:
            raise DeviceError(
                f"There is no phone runtime for {abi} on this agent.",
                remedy=f"`farm phone-runtime build --abi {abi}` makes one.",
            )
        if self._harness is None:
            self._harness = await asyncio.to_thread(bundles.harness_layer, folder)
        settings = self._settings
        return Provision(bundle, self._harness, folder, settings.agent_phone_cache_bytes, settings.agent_phone_state)

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Known:
    """Phones that were here before, by what adb called them: so that one that is locked or offline is shown as what it
    is, under its own id."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._phones: dict[str, tuple[str, DeviceFacts]] = {}
        try:
            for serial, (device_id, facts) in json.loads(path.read_text()).items():
                self._phones[serial] = device_id, DeviceFacts.model_validate(facts)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read, phones are met anew: %s", path, error)

    def of(self, serial: str) -> tuple[str, DeviceFacts]:
        return self._phones.get(serial, ("", _UNKNOWN))

    def note(self, serial: str, device_id: str, facts: DeviceFacts) -> None:
        if self._phones.get(serial) == (device_id, facts):
            return
        self._phones[serial] = device_id, facts
        content = {serial: (id, facts.model_dump(mode="json")) for serial, (id, facts) in self._phones.items()}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part = self._path.with_suffix(".part")
            part.write_text(json.dumps(content))
            part.replace(self._path)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error)


def _server(address: str) -> Server:
    host, _, port = address.rpartition(":")
    return Server(host, int(port))


def _exit_code(end: str) -> int | None:
    """As of a process of our own: negative where a signal ended it, None where nobody knows."""
    if not end.isdecimal():
        return None
    return 128 - int(end) if int(end) > 128 else int(end)
