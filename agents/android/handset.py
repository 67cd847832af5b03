"""One phone as its driver knows it: what it is, how it is, what of ours runs on it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Collection
from pathlib import Path

from agents.android import facts as survey
from agents.android import scripts, state
from agents.android.link import AdbPhone
from agents.android.metering import Meters
from agents.android.parsers import getprop
from agents.android.parsers.absent import Absent
from agents.android.state import StateJournal
from agents.meters.beside import Beside
from farm.errors import DeviceError, LinkLost
from farm.types import DeviceFacts, DeviceReadings

log = logging.getLogger(__name__)

_SURVEY_SECONDS = 20.0


class Handset:
    """``id``: of the device. What it does with the phone is done under ``lock``, one thing after the other; only the
    wait for an attempt's end goes on beside it. ``attempts``: those that may run there, by their ids on the phone.
    ``beside``: a meter that feeds it."""

    def __init__(self, id: str, folder: Path, beside: Beside | None = None) -> None:
        self.id = id
        self.phone: AdbPhone | None = None  # while it is plugged in and answers
        self.present = asyncio.Event()
        self.lock = asyncio.Lock()
        self.attempts: set[str] = set()
        self.state = StateJournal(folder / f"{id}.state.json")
        self.meters = Meters(folder / f"{id}.gauge.json", beside)
        self.readings = DeviceReadings()

    def attach(self, phone: AdbPhone) -> None:
        self.phone = phone
        self.present.set()

    def detach(self) -> None:
        self.phone = None
        self.present.clear()

    def here(self) -> AdbPhone:
        """Raises LinkLost while it is not plugged in."""
        if self.phone is None:
            raise LinkLost(f"{self.id} is not attached.", remedy="Plug it in or switch it on again.")
        return self.phone

    async def back(self) -> AdbPhone:
        """Wait until it is there."""
        while self.phone is None:
            await self.present.wait()
        return self.phone

    async def tidy(self) -> None:
        """End and remove what is no attempt of ``attempts``; without any, put back what was set; read how it is.

        Under the lock. Raises LinkLost, DeviceTimeout, OutputCut.
        """
        pending = {} if self.attempts else self.state.pending()
        command = scripts.finish(self.attempts, state.restoring(pending), survey.READINGS_COMMAND)
        output = await self.here().shell(command, timeout_seconds=_SURVEY_SECONDS)
        if pending:
            self.state.clear()
        self.readings = quantised(survey.readings(**survey.sections(output.stdout)))


async def identify(phone: AdbPhone) -> tuple[DeviceFacts, str]:
    """What it is, and its own serial number, which is the same whatever it is plugged into; "" where it has none.

    Raises LinkLost, DeviceTimeout, OutputCut, DeviceError.
    """
    output = await phone.shell(survey.FACTS_COMMAND, timeout_seconds=_SURVEY_SECONDS)
    parts = survey.sections(output.stdout)
    facts = survey.facts(**parts)
    if isinstance(facts, Absent):
        raise DeviceError(f"{phone.serial} does not tell what it is: {facts.why}.", remedy="See its shell.")
    properties = getprop.parse(parts.get("getprop", ""))
    serial = "" if isinstance(properties, Absent) else properties.get("ro.serialno", "")
    return facts, serial


def device_id(agent: str, adb_serial: str, own_serial: str, *, emulator: bool) -> str:
    """Stable: by the phone's own serial number. Emulators of one image share it, and go by their port."""
    if emulator or not own_serial:
        own_serial = adb_serial
    name = re.sub(r"[^A-Za-z0-9._-]", "-", own_serial).lstrip("._-")[:80] or "phone"
    return f"{agent}-{name}"[:100] if emulator else name


def quantised(readings: DeviceReadings) -> DeviceReadings:
    """In steps, so that a phone that lies idle says nothing new all the time."""
    ratio, celsius = readings.battery_ratio, readings.battery_celsius
    return readings.model_copy(
        update={
            "battery_ratio": None if ratio is None else round(ratio * 50) / 50,
            "battery_celsius": None if celsius is None else round(celsius * 2) / 2,
        }
    )


def obstacle(
    readings: DeviceReadings, *, max_start_celsius: float, min_battery_ratio: float, max_thermal_status: int
) -> str:
    """Why nothing should start on it now; empty where nothing is known against it."""
    celsius, ratio, status = readings.battery_celsius, readings.battery_ratio, readings.thermal_status
    if celsius is not None and celsius > max_start_celsius:
        return f"too hot: {celsius:.1f} °C > {max_start_celsius:g} °C"
    if ratio is not None and ratio < min_battery_ratio:
        return f"battery low: {ratio:.0%} < {min_battery_ratio:.0%}"
    if status is not None and status > max_thermal_status:
        return f"throttled: thermal status {status} > {max_thermal_status}"
    return ""


def stale(present: Collection[str], wanted: Collection[str]) -> list[str]:
    """Layers on the phone that no bundle here is made of any more."""
    return sorted(set(present) - set(wanted))
