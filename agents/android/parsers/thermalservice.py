"""``dumpsys thermalservice`` (Android 10 and later; AOSP, ThermalManagerService.dump)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from agents.android.parsers.absent import Absent, lines, number, refusal, shown

KINDS = {0: "CPU", 1: "GPU", 2: "BATTERY", 3: "SKIN", 4: "USB", 5: "PA", 9: "NPU"}
_CURRENT_LIMITS = (6, 7, 8)  # battery current limits: no temperatures, though they come as such
STATUSES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")

_TEMPERATURES = "Current temperatures from HAL:"
_COOLING = "Current cooling devices from HAL:"
_TEMPERATURE = re.compile(
    r"Temperature\{mValue=([^,]+), mType=([0-9]{1,3}), mName=([^}]*), mStatus=([0-9])\}", re.ASCII
)
_DEVICE = re.compile(r"CoolingDevice\{mValue=([^,]+), mType=([0-9]{1,3}), mName=([^}]*)\}", re.ASCII)
_EMULATORS_COOLING = 100  # what every emulator says, always


class Temperature(NamedTuple):
    """``kind``: of ``KINDS``. ``status``: 0 to 6, of this sensor alone."""

    name: str
    kind: str
    celsius: float
    status: int


class Cooling(NamedTuple):
    """A cap that is in force where ``level`` is over 0."""

    name: str
    level: int


@dataclass(frozen=True)
class Thermal:
    """``status``: of the phone as a whole, None where it is not told. ``overridden``: somebody set it by hand."""

    status: int | None
    overridden: bool | None
    temperatures: tuple[Temperature, ...]
    cooling: tuple[Cooling, ...]
    rejected: tuple[str, ...]

    def hottest(self, *kinds: str) -> Temperature | None:
        """Of the first of these kinds that there is a sensor of."""
        for kind in kinds:
            if found := [sensor for sensor in self.temperatures if sensor.kind == kind]:
                return max(found, key=lambda sensor: sensor.celsius)
        return None


def parse(text: str) -> Thermal | Absent:
    """Temperatures from the block that comes fresh from the HAL only: cached ones can be 20 °C off."""
    body = [line.strip() for line in lines(text)]
    status = _value(body, "Thermal Status:")
    overridden = _value(body, "IsStatusOverride:")
    if status is None and overridden is None and _TEMPERATURES not in body:
        return Absent(f"dumpsys thermalservice: {refusal(text) or f'{shown(text)} is no state of the thermal service'}")
    rejected: list[str] = []
    level = int(status) if status is not None and re.fullmatch("[0-6]", status) else None
    if status is not None and level is None:
        rejected.append(f"Thermal Status: {shown(status)}")
    return Thermal(
        status=level,
        overridden={"true": True, "false": False}.get(overridden or ""),
        temperatures=tuple(_temperatures(_block(body, _TEMPERATURES), rejected)),
        cooling=tuple(_cooling(_block(body, _COOLING), rejected)),
        rejected=tuple(rejected),
    )


def active(thermal: Thermal, *, emulator: bool) -> tuple[Cooling, ...]:
    """Cooling devices that slow the phone down now, also where its status is still none."""
    return tuple(
        device
        for device in thermal.cooling
        if device.level > 0 and not (emulator and device.level == _EMULATORS_COOLING)
    )


def _value(body: list[str], name: str) -> str | None:
    return next((line.removeprefix(name).strip() for line in body if line.startswith(name)), None)


def _block(body: list[str], heading: str) -> Iterator[str]:
    """The records below a heading, up to the next one."""
    if heading not in body:
        return
    for line in body[body.index(heading) + 1 :]:
        if "{" not in line:
            if line:
                return
            continue
        yield line


def _temperatures(block: Iterator[str], rejected: list[str]) -> Iterator[Temperature]:
    for line in block:
        found = _TEMPERATURE.fullmatch(line)
        celsius = number(found[1]) if found else Absent("no temperature record")
        if found is None or isinstance(celsius, Absent) or not -60 <= celsius <= 250 or int(found[4]) > 6:
            rejected.append(shown(line))
        elif (kind := int(found[2])) in KINDS:
            yield Temperature(found[3], KINDS[kind], celsius, int(found[4]))
        elif kind not in _CURRENT_LIMITS:
            rejected.append(f"unknown type in {shown(line)}")


def _cooling(block: Iterator[str], rejected: list[str]) -> Iterator[Cooling]:
    for line in block:
        found = _DEVICE.fullmatch(line)
        level = number(found[1]) if found else Absent("no cooling device")
        if found is None or isinstance(level, Absent):
            rejected.append(shown(line))
        else:
            yield Cooling(found[3], int(level))
