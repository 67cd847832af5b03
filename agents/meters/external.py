"""A power meter beside the device, between its supply and itself: Monsoon HVPM, Joulescope, a lab supply.

The meter's readings become a ``PowerSeries`` like any other, and energy is worked out of it by the same function
(``farm.analysis.energy``). Such a meter sees what the phone takes only where nothing else feeds it: with USB connected
it must cut VBUS itself, or its ``start`` must refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from farm.errors import DeviceError
from farm.types import PowerSeries

BIN_SECONDS = 0.05  # five thousand readings a second tell no more of an inference's energy than their means


class PowerMeter(Protocol):
    @property
    def name(self) -> str:
        """For people: ``Monsoon HVPM 12345``."""
        ...

    def start(self) -> None:
        """Begin to record, without waiting for the end. Raises DeviceError, InfrastructureError."""
        ...

    def stop(self) -> PowerSeries:
        """End, and give what was recorded since ``start``, by ``series``: seconds are this machine's monotonic clock.
        Raises DeviceError where readings were lost: a gap is never filled."""
        ...


def series(source: str, start_seconds: float, period_seconds: float, watts: Sequence[float]) -> PowerSeries:
    """Evenly spaced readings as means over ``BIN_SECONDS``; what does not fill a last bin is left out. Raises
    DeviceError where the readings do not fill one."""
    size = max(1, round(BIN_SECONDS / period_seconds))
    means = [sum(watts[at : at + size]) / size for at in range(0, len(watts) - size + 1, size)]
    if not means:
        raise DeviceError(
            f"{source} gave {len(watts)} readings, {size} are the least.", remedy="Look at its connection and its log."
        )
    times = tuple(start_seconds + number * size * period_seconds for number in range(len(means) + 1))
    return PowerSeries(method="external", source=source, seconds=times, watts=tuple(means))


def on_device_clock(found: PowerSeries, offset_seconds: float) -> PowerSeries:
    """``offset_seconds``: the device's clock minus the one that the series is on."""
    return found.model_copy(update={"seconds": tuple(at + offset_seconds for at in found.seconds)})
