"""Power over time, as a device or a meter beside it recorded it: what energy is worked out from."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from farm.types.base import Frozen

# By the battery's own current times its voltage, by the fall of its charge counter, by the rails' power monitors on the
# device, or by a meter beside it.
PowerMethod = Literal["battery-current", "charge-counter", "odpm", "external"]


class Span(Frozen):
    """A stretch of the device's monotonic clock."""

    start_seconds: float
    end_seconds: float

    @property
    def seconds(self) -> float:
        return self.end_seconds - self.start_seconds


class PowerSeries(Frozen):
    """``watts[i]`` is the mean power out of the supply from ``seconds[i]`` to ``seconds[i + 1]``: of ``seconds`` there
    is one more. ``seconds``: CLOCK_MONOTONIC of the device. ``source``: what was read, for people."""

    method: PowerMethod
    source: str
    seconds: tuple[float, ...]
    watts: tuple[float, ...]

    @model_validator(mode="after")
    def _consistent(self) -> PowerSeries:
        if len(self.seconds) != len(self.watts) + 1:
            raise ValueError(f"{len(self.watts)} powers need {len(self.watts) + 1} times, not {len(self.seconds)}")
        if any(later <= earlier for earlier, later in zip(self.seconds, self.seconds[1:], strict=False)):
            raise ValueError("the times do not increase")
        return self


class PowerRecord(Frozen):
    """A series with the stretches that tell what of it the model took: at rest, in the measured phase, at rest.
    ``clock_uncertainty_seconds``: by how much the series may be off against them, where its clock is another one."""

    series: PowerSeries
    idle_before: Span
    measured: Span
    idle_after: Span
    clock_uncertainty_seconds: float = 0.0
