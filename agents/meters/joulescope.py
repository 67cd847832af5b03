"""Joulescope JS110 and JS220, by the ``joulescope`` library (extra ``joulescope``): power computed in the instrument.

The instrument itself averages current times voltage at 1 or 2 MHz and reports twenty means a second, each with the
numbers of the samples in it: a gap shows as numbers that do not follow on each other.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from farm.config import PowerMeterSetting
from farm.errors import ConfigError, DeviceError
from farm.types import PowerSeries

_START_SECONDS = 10.0
_REMEDY = "Attach it to a USB port of its own, and look at the supply between it and the phone."


def open_meter(setting: PowerMeterSetting) -> JoulescopeMeter:
    """Raises ImportError without the library, ConfigError, DeviceError where there is no such meter."""
    import joulescope

    if setting.volts is not None:
        raise ConfigError(
            "A Joulescope is no supply: volts cannot be set.", remedy="Leave volts out, and set the supply by hand."
        )
    found = [each for each in joulescope.scan(config="auto") if setting.serial in (None, each.device_serial_number)]
    if len(found) != 1:
        serials = ", ".join(str(each.device_serial_number) for each in found) or "none"
        wanted = f"One Joulescope {setting.serial or ''}".rstrip()
        raise DeviceError(
            f"{wanted} is wanted, there are {len(found)}: {serials}.",
            remedy="Give its serial in agent_power_meters; is it attached here, and may the agent's user open it?",
        )
    device = found[0]
    try:
        device.open()
        device.parameter_set("reduction_frequency", "20 Hz")
    except Exception as error:  # the library raises whatever USB does
        raise DeviceError(f"{device} cannot be opened: {error!r}.", remedy="Does another program have it?") from error
    return JoulescopeMeter(device, f"Joulescope {device.device_serial_number}")


@dataclass(frozen=True)
class Mean:
    """``first`` and ``end``: the samples in it, by their numbers; ``end`` is the next one's. ``arrived_seconds``: of
    this machine's monotonic clock."""

    first: int
    end: int
    rate_hertz: float
    watts: float
    arrived_seconds: float


class JoulescopeMeter:
    """``device``: of the library, open."""

    def __init__(self, device: Any, name: str) -> None:
        self._device, self._name = device, name
        self._means: list[Mean] = []
        self._first = threading.Event()
        self._errors: list[str] = []
        self._recording = False

    @property
    def name(self) -> str:
        return self._name

    def start(self) -> None:
        if self._recording:
            raise DeviceError(f"{self._name} records already.", remedy="Two attempts must not share a meter.")
        self._means, self._errors = [], []
        self._first.clear()
        self._recording = True
        self._device.statistics_callback_register(self._take, "sensor")
        if not self._first.wait(_START_SECONDS):
            self._end()
            raise DeviceError(f"{self._name} gave no reading in {_START_SECONDS:g} s.", remedy=_REMEDY)

    def stop(self) -> PowerSeries:
        if not self._recording:
            raise DeviceError(f"{self._name} was not recording.", remedy="Report this bug.")
        self._end()
        if self._errors:
            raise DeviceError(f"{self._name} sent what is not understood: {self._errors[0]}.", remedy=_REMEDY)
        return series_of(self._name, self._means)

    def _end(self) -> None:
        self._device.statistics_callback_unregister(self._take, "sensor")
        self._recording = False

    def _take(self, value: Mapping[str, Any]) -> None:
        """In the library's thread: nothing may be raised there."""
        arrived_seconds = time.monotonic()
        try:
            self._means.append(read(value, arrived_seconds))
        except ValueError as error:
            self._errors.append(str(error))
        self._first.set()


def read(value: Mapping[str, Any], arrived_seconds: float) -> Mean:
    """One report of the library's statistics. Raises ValueError."""
    try:
        first, end = value["time"]["samples"]["value"]
        rate_hertz = round((end - first) / value["time"]["delta"]["value"])
        power = value["signals"]["power"]
        watts, unit = float(power["avg"]["value"]), power["avg"]["units"]
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"a report without {error}") from error
    if unit != "W" or not (math.isfinite(watts) and math.isfinite(rate_hertz) and rate_hertz > 0 and end > first):
        raise ValueError(f"{watts} {unit} over the samples {first} to {end} at {rate_hertz} Hz")
    return Mean(int(first), int(end), rate_hertz, watts, arrived_seconds)


def series_of(name: str, means: list[Mean]) -> PowerSeries:
    """On this machine's clock: a report arrives after its end, and the one that took least tells when that was.

    Raises DeviceError where readings are missing, or there are too few.
    """
    for earlier, later in itertools.pairwise(means):
        if later.first != earlier.end or later.rate_hertz != earlier.rate_hertz:
            raise DeviceError(
                f"{name} lost readings: after sample {earlier.end:,} comes {later.first:,}.", remedy=_REMEDY
            )
    if not means:
        raise DeviceError(f"{name} gave no reading.", remedy=_REMEDY)
    rate_hertz = means[0].rate_hertz
    start_seconds = min(each.arrived_seconds - (each.end - means[0].first) / rate_hertz for each in means)
    times = [
        start_seconds + (number - means[0].first) / rate_hertz
        for number in (means[0].first, *(each.end for each in means))
    ]
    return PowerSeries(method="external", source=name, seconds=tuple(times), watts=tuple(each.watts for each in means))
