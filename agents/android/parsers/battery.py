"""``dumpsys battery`` (AOSP, BatteryService.dump), with what Samsung adds to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from agents.android.parsers.absent import Absent, integer, lines, refusal, shown

COULOMBS_PER_MICROAMPERE_HOUR = 3.6e-3

UNKNOWN, CHARGING, DISCHARGING, NOT_CHARGING, FULL = 1, 2, 3, 4, 5
STATUSES = {
    UNKNOWN: "unknown",
    CHARGING: "charging",
    DISCHARGING: "discharging",
    NOT_CHARGING: "not charging",
    FULL: "full",
}

_HEADER = "Current Battery Service state:"
_FIELD = re.compile(r"  ([^\s:(][^:]*): ?(.*)")
_POWERED = ("AC powered", "USB powered", "Wireless powered", "Dock powered")
_HISTORY = re.compile(
    r"(?:(\d\d)-(\d\d) )?(\d\d):(\d\d):(\d\d)(?:\.(\d{1,3}))?\s+(?:Sending ACTION_BATTERY_CHANGED: )?(level:.*)",
    re.ASCII,
)


@dataclass(frozen=True)
class Battery:
    """One answer of the battery service. A field is None where ``absent`` says why.

    ``powered``: by which of the sources that the phone knows of ("AC", "USB", "Wireless", "Dock"); None where it tells
    of none at all. ``updates_stopped``: somebody faked a state (``dumpsys battery unplug``), so every value is stale.
    ``current_amperes``: Samsung's ``current now``, positive into the battery.
    """

    powered: tuple[str, ...] | None
    status: int | None
    charge_ratio: float | None
    volts: float | None
    celsius: float | None
    charge_coulombs: float | None
    current_amperes: float | None
    updates_stopped: bool
    absent: Mapping[str, str]


def parse(text: str) -> Battery | Absent:
    """Only lines of exactly two spaces and a key count, up to the first blank line or log buffer: vendors put notes of
    their own with other indentation in between, and repeat words there that would pass for readings."""
    body = lines(text)
    start = next((number for number, line in enumerate(body) if line.strip() == _HEADER), None)
    if start is None:
        return Absent(f"dumpsys battery: {refusal(text) or f'{shown(text)} is no state of the battery service'}")
    fields: dict[str, str] = {}
    stopped = False
    for line in body[start + 1 :]:
        if not line.strip() or line.startswith("["):
            break
        stopped |= "UPDATES STOPPED" in line
        if found := _FIELD.fullmatch(line):
            fields.setdefault(found[1], found[2])
    absent: dict[str, str] = {}

    def whole(name: str, field: str, low: int, high: int) -> int | None:
        value = integer(fields[field]) if field in fields else Absent(f"there is no {field!r}")
        if isinstance(value, int) and not low <= value <= high:
            value = Absent(f"{field} is {value}, which no phone has")
        if isinstance(value, Absent):
            absent[name] = f"dumpsys battery: {value.why}"
            return None
        return value

    level, scale = whole("charge_ratio", "level", 0, 10_000), whole("charge_ratio", "scale", 1, 10_000)
    ratio = level / scale if level is not None and scale is not None else None
    if ratio is not None and ratio > 1:
        absent["charge_ratio"], ratio = f"dumpsys battery: level {level} of {scale}", None
    millivolts = whole("volts", "voltage", 1000, 30_000)
    tenths = whole("celsius", "temperature", -600, 1500)
    microampere_hours = whole("charge_coulombs", "Charge counter", 1, 10**9)
    milliamperes = whole("current_amperes", "current now", -100_000, 100_000)
    return Battery(
        powered=_powered(fields, absent),
        status=whole("status", "status", 1, 5),
        charge_ratio=ratio,
        volts=None if millivolts is None else millivolts / 1000,
        celsius=None if tenths is None else tenths / 10,
        charge_coulombs=None if microampere_hours is None else microampere_hours * COULOMBS_PER_MICROAMPERE_HOUR,
        current_amperes=None if milliamperes is None else milliamperes / 1000,
        updates_stopped=stopped,
        absent=absent,
    )


def _powered(fields: Mapping[str, str], absent: dict[str, str]) -> tuple[str, ...] | None:
    told = {name: fields[name].strip() for name in _POWERED if name in fields}
    if not told:
        absent["powered"] = "dumpsys battery: no source of power is named"
    elif wrong := [name for name, value in told.items() if value not in ("true", "false")]:
        absent["powered"] = f"dumpsys battery: {wrong[0]} is {shown(told[wrong[0]])}"
    else:
        return tuple(name.removesuffix(" powered") for name, value in told.items() if value == "true")
    return None


def charging(battery: Battery) -> str | None:
    """Why what flows out of this battery is not what the phone takes; None where nothing but the battery feeds it."""
    if battery.updates_stopped:
        return "the battery's state is faked (UPDATES STOPPED): `dumpsys battery reset`, and pull the cable instead"
    if battery.powered is None:
        return battery.absent["powered"]
    if battery.powered:
        return f"the phone is on a charger ({', '.join(battery.powered)})"
    if battery.status is None:
        return battery.absent["status"]
    if battery.status != DISCHARGING:
        return f"the battery is not discharging (status {battery.status}, {STATUSES[battery.status]})"
    return None


@dataclass(frozen=True)
class Broadcast:
    """One line of the history that some vendors keep in ``dumpsys battery``: every 30 to 90 s.

    ``day_seconds``: wall clock, since midnight. ``current_amperes``: the average, positive into the battery.
    """

    day_seconds: float
    volts: float
    current_amperes: float
    charge_coulombs: float


def history(text: str) -> tuple[Broadcast, ...] | Absent:
    """Samsung's broadcast log, which shell may read where it may not read the gauge's own files."""
    found: list[Broadcast] = []
    for line in lines(text):
        match = _HISTORY.fullmatch(line.strip())
        if match is None:
            continue
        hours, minutes, seconds = (int(match[group]) for group in (3, 4, 5))
        words = re.findall(r"([a-z_]+):(-?[0-9]{1,12})\b", match[7], re.ASCII)
        values = {name: int(value) for name, value in words}
        if not {"voltage", "current_avg", "cc"} <= values.keys() or hours > 23 or minutes > 59 or seconds > 59:
            continue
        found.append(
            Broadcast(
                day_seconds=hours * 3600 + minutes * 60 + seconds + int((match[6] or "0").ljust(3, "0")) / 1000,
                volts=values["voltage"] / 1000,
                current_amperes=values["current_avg"] / 1000,
                charge_coulombs=values["cc"] * COULOMBS_PER_MICROAMPERE_HOUR,
            )
        )
    return tuple(found) or Absent("dumpsys battery: there is no history of broadcasts")
