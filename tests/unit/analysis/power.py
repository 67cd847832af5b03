"""A made-up power record of a device that takes ``idle`` watts at rest and ``busy`` watts at work."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from farm.types import PowerRecord, PowerSeries, Span


def power_record(
    idle: float = 0.8,
    busy: float = 2.3,
    *,
    after: float | None = None,
    noise: float = 0.02,
    period_seconds: float = 0.25,
    measured_seconds: float = 60.0,
    refresh: int = 1,
    seed: int = 0,
    **series: Any,
) -> PowerRecord:
    """``refresh``: how many readings in a row the gauge gives the same value."""
    edges = np.array([0.0, 30.0, 30.0 + measured_seconds, 60.0 + measured_seconds])
    seconds = np.arange(0.0, edges[-1] + 2 * period_seconds, period_seconds)
    levels = np.array([idle, busy, idle if after is None else after])
    watts = levels[np.clip(np.searchsorted(edges, seconds[:-1], side="right") - 1, 0, 2)]
    watts = watts * (1 + noise * np.random.default_rng(seed).standard_normal(len(watts)))
    watts = watts[np.arange(len(watts)) // refresh * refresh]
    spans = [Span(start_seconds=float(low), end_seconds=float(high)) for low, high in pairwise(edges)]
    fields: dict[str, Any] = {"method": "battery-current", "source": "current_now x voltage_now of the battery"}
    found = PowerSeries(**fields | series, seconds=tuple(seconds.tolist()), watts=tuple(watts.tolist()))
    return PowerRecord(series=found, idle_before=spans[0], measured=spans[1], idle_after=spans[2])
