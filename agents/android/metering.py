"""The meters of one phone: which it lets be read, how its gauge counts, and what an attempt's samples say."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from agents.android import power, samples, sampling
from agents.android.calibration import Calibration, Observation, calibrate
from agents.android.parsers import powersupply
from agents.android.parsers.absent import Absent
from agents.android.phone import ATTEMPTS, Phone
from agents.android.samples import Samples
from agents.android.sampling import Plan
from agents.harness import records
from agents.meters.beside import Beside, Recorded
from farm.errors import FarmError
from farm.types import DeviceFacts, DeviceReadings, Lease, PowerRecord, Telemetry

log = logging.getLogger(__name__)

NATIVE = "not measured with a native tool: it does not tell when its runs began"
PERIOD_SECONDS = 0.25
_KEPT_OBSERVATIONS = 20  # of each kind: enough for a median, and the newest count
_NEAR_SECONDS = 0.6  # between a reading of the current and the battery's state that goes with it
_OBSERVATIONS = TypeAdapter(tuple[Observation, ...])


@dataclass(frozen=True)
class Sampling:
    """A script beside what measures, "" where there is none; ``idle_seconds``: how long before it. ``refusal``: why its
    energy is not to be measured, "" where it is."""

    script: str = ""
    idle_seconds: float = 0
    refusal: str = ""


@dataclass(frozen=True)
class Readout:
    """``energy_absent``: why there is no ``power``; "" where nobody asked for it."""

    telemetry: Telemetry
    power: PowerRecord | None = None
    energy_absent: str = ""


class Meters:
    """``path``: where what was seen of the gauge is kept over restarts of the agent. ``beside``: a meter that feeds the
    phone, whose energy is then told by it alone. ``prepare`` comes first."""

    def __init__(self, path: Path, beside: Beside | None = None) -> None:
        self._path, self._beside = path, beside
        self._plan: Plan | None = None

    async def prepare(self, phone: Phone) -> None:
        """Find out, once, what this phone lets its shell read. Raises LinkLost, DeviceTimeout, OutputCut."""
        if self._plan is None:
            self._plan = await sampling.plan(phone)

    async def begin(
        self,
        lease: Lease,
        attempt: str,
        phone: Phone,
        cpus: Sequence[int],
        facts: DeviceFacts,
        readings: DeviceReadings,
    ) -> Sampling:
        """The phone rests before and after only where its energy can come of it. A meter beside it records from now
        until ``end`` or ``drop``."""
        if lease.scenario.native:
            refusal = NATIVE
        elif self._beside and not facts.emulator:
            refusal = "" if not lease.protocol.idle_seconds else await self._record(self._beside, attempt, phone)
        else:
            refusal = self.refusal(facts, readings)
        if self._plan is None:
            return Sampling(refusal=refusal)
        idle_seconds = 0.0 if refusal else lease.protocol.idle_seconds
        script = self._plan.script(
            PERIOD_SECONDS,
            f"{ATTEMPTS}/{attempt}",
            cpus=cpus,
            idle_seconds=idle_seconds,
            limit_seconds=lease.timeout_seconds + 2 * idle_seconds + 60,
        )
        return Sampling(script, idle_seconds, refusal)

    async def _record(self, beside: Beside, attempt: str, phone: Phone) -> str:
        """Why it does not; a meter that fails costs the energy, not the measurement."""
        try:
            await beside.start(attempt, phone)
        except FarmError as error:
            log.warning("%s", error)
            return error.message.rstrip(".")
        return ""

    async def end(self, attempt: str, phone: Phone | None) -> Recorded | Absent | None:
        """Of the meter beside the phone: what it recorded, or why nothing; None without one. ``phone``: None while
        it is away."""
        if self._beside is None:
            return None
        if phone is None:
            await self._beside.drop(attempt)
            return Absent("the phone was away when its clock was to be compared with the meter's")
        try:
            return await self._beside.stop(attempt, phone)
        except FarmError as error:
            log.warning("%s", error)
            return Absent(error.message.rstrip("."))

    async def drop(self, attempt: str) -> None:
        """Nobody wants what is recorded of the attempt."""
        if self._beside:
            await self._beside.drop(attempt)

    def refusal(self, facts: DeviceFacts, readings: DeviceReadings) -> str:
        """Why its own gauge cannot tell its energy now, as far as is known before; "" where it can."""
        if facts.emulator:
            return power.EMULATOR
        if self._plan is None or not self._plan.measures_energy:
            return "the phone lets nobody read its current, charge or rails"
        if self._plan.rails:
            return ""
        if readings.powered is not False:
            return "the phone is on a charger or USB power" if readings.powered else "it is not known what feeds it"
        calibration = self._calibration()
        if isinstance(calibration, Absent) and "charge" not in self._plan.gauge:
            return calibration.why
        return ""

    def readout(self, folder: Path, facts: DeviceFacts, recorded: Recorded | Absent | None, *, rested: bool) -> Readout:
        """Of an attempt's folder. ``recorded``: of ``end``. ``rested``: the phone did so for its energy."""
        try:
            found = samples.read((folder / sampling.SAMPLES).read_text(errors="replace"))
        except FileNotFoundError:
            found = Absent("the sampler wrote nothing")
        if isinstance(found, Absent) or self._plan is None:
            why = found.why if isinstance(found, Absent) else "no sampler ran"
            names = ("background_cpu_ratio", "cpu_frequency", "temperature", "steal_ratio")
            return Readout(Telemetry(absent=dict.fromkeys(names, why)), energy_absent=why)
        self._observe(found)
        telemetry = found.telemetry(self._plan, cpu_count=facts.cpu_count, emulator=facts.emulator)
        if not rested:
            return Readout(telemetry)
        taken = recorded if isinstance(recorded, Absent) else self._power(found, folder, facts, recorded)
        if isinstance(taken, Absent):
            return Readout(telemetry, energy_absent=taken.why)
        return Readout(telemetry, power=taken)

    def _power(
        self, found: Samples, folder: Path, facts: DeviceFacts, recorded: Recorded | None
    ) -> PowerRecord | Absent:
        try:
            said = records.read(folder / "records.jsonl")
        except records.RecordsCut as error:
            return Absent(str(error))
        if recorded:
            return power.external(recorded, found, said)
        return power.record(found, said, self._calibration(), emulator=facts.emulator)

    def _calibration(self) -> Calibration | Absent:
        return calibrate(self._observations())

    def _observations(self) -> tuple[Observation, ...]:
        try:
            return _OBSERVATIONS.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return ()
        except (OSError, ValidationError) as error:
            log.warning("%s cannot be read, the gauge is calibrated anew: %s", self._path, error)
            return ()

    def _observe(self, found: Samples) -> None:
        """Currents next to a state of the battery that says where they flow."""
        new = tuple(observed(found))
        if not new:
            return
        together = (*self._observations(), *new)
        kept = [one for fed in (False, True) for one in [o for o in together if o.powered is fed][-_KEPT_OBSERVATIONS:]]
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part = self._path.with_suffix(".part")
            part.write_text(json.dumps([one.model_dump(mode="json") for one in kept]))
            part.replace(self._path)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error)


def observed(found: Samples) -> list[Observation]:
    """What the samples say of the gauge: a current and a voltage within ``_NEAR_SECONDS`` of a battery's state."""
    observations = []
    for at, state in found.batteries:
        if state.status is None or state.powered is None or state.updates_stopped:
            continue
        near = [tick for tick in found.ticks if abs(tick.at_seconds - at) <= _NEAR_SECONDS and "i" in tick.values]
        for tick in near:
            current = powersupply.current(tick.values["i"])
            volts = powersupply.volts(tick.values["v"]) if "v" in tick.values else state.volts
            if isinstance(current, int) and isinstance(volts, float):
                observations.append(
                    Observation(current=current, volts=volts, status=state.status, powered=bool(state.powered))
                )
    return observations
