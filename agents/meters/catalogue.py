"""External power meters by name: those of the farm, and those that other packages offer.

An entry point of the group ``torchfarm.meters`` names a callable that takes ``farm.config.PowerMeterSetting`` and
returns an open ``agents.meters.external.PowerMeter``.
"""

from __future__ import annotations

import importlib.metadata
import time
from dataclasses import dataclass

from agents.android.phone import Phone
from agents.meters.external import PowerMeter
from farm.config import PowerMeterSetting
from farm.errors import ConfigError, DeviceError

ENTRY_POINTS = "torchfarm.meters"
_TRIES = 8
_TICK_SECONDS = 0.01


def open_meter(setting: PowerMeterSetting) -> PowerMeter:
    """Raises ConfigError where there is no such kind or its library is missing, DeviceError where it does not open."""
    kinds = {entry.name: entry for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    if setting.kind not in kinds:
        raise ConfigError(
            f"There is no power meter of kind {setting.kind!r}.",
            remedy=f"Known here: {', '.join(sorted(kinds)) or 'none'}. Others come with the package of their plug-in.",
        )
    try:
        meter: PowerMeter = kinds[setting.kind].load()(setting)
    except ImportError as error:
        raise ConfigError(
            f"The library of the power meter {setting.kind} cannot be loaded: {error}.",
            remedy=f"pip install 'torchfarm[{setting.kind}]' on the machine that the meter is attached to.",
        ) from error
    return meter


@dataclass(frozen=True)
class ClockOffset:
    """The phone's ``/proc/uptime`` minus this machine's monotonic clock; the truth is within ``uncertainty_seconds``.

    How the harness's CLOCK_MONOTONIC stands to its phone's uptime its own records tell: the sum of both carries an
    external meter's series into the harness's window.
    """

    seconds: float
    uncertainty_seconds: float


async def clock_offset(phone: Phone) -> ClockOffset:
    """From the quickest of a few round trips: the phone looked at its clock somewhere within it, so half of it is the
    uncertainty, and the clock's hundredth of a second comes on top. Raises what ``phone`` does, and DeviceError."""
    found: list[ClockOffset] = []
    for _ in range(_TRIES):
        before_seconds = time.monotonic()
        said = await phone.shell("cat /proc/uptime")
        found.append(of_round_trip(before_seconds, time.monotonic(), said.stdout))
    return min(found, key=lambda each: each.uncertainty_seconds)


def of_round_trip(before_seconds: float, after_seconds: float, uptime: str) -> ClockOffset:
    """Raises DeviceError where ``uptime`` is not what ``/proc/uptime`` holds (proc(5))."""
    try:
        there_seconds = float(uptime.split(maxsplit=1)[0])
    except (IndexError, ValueError):
        raise DeviceError(f"/proc/uptime says {uptime[:80]!r}.", remedy="The clocks cannot be aligned there.") from None
    half_seconds = (after_seconds - before_seconds) / 2
    middle_seconds = before_seconds + half_seconds
    return ClockOffset(there_seconds + _TICK_SECONDS / 2 - middle_seconds, half_seconds + _TICK_SECONDS / 2)
