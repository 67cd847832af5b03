"""Energy of an inference over what the idle device takes, from power over time. Pure.

Where a figure could not be trusted there is none, and the reason says what to do: a gauge that moved a few times only,
a device whose idle power before is not the one after, a model that takes no more than the idle device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farm.types import Estimate, PowerRecord, PowerSeries, Span

MIN_QUANTA = 100  # readings that differ from the one before, in the measured phase
MAX_IDLE_CHANGE_RATIO = 0.05
MIN_WATTS, MAX_WATTS = 0.1, 20.0  # of a phone that is switched on
BATCHES = 10


@dataclass(frozen=True)
class Energy:
    """``joules``: of one call. ``watts``: of the whole device in the measured phase; ``idle_watts``: at rest."""

    joules: Estimate
    watts: Estimate
    idle_watts: float


def energy(record: PowerRecord, calls: int, confidence: float) -> Energy | str:
    """Of each of ``calls`` in the measured phase, or why it is not told.

    Intervals are those of batch means, which readings that resemble their neighbours do not make too narrow (A. M. Law,
    "Simulation Modeling and Analysis", 5th ed. 2015, section 9.5.3), with Student's t. Idle power is the mean of before
    and after; half of their difference is added to its uncertainty, because nobody knows which of them held meanwhile.
    So is what the clock of a meter beside the device may be off, as a bound.
    """
    if why := _unresolved(record):
        return why
    series, spans = record.series, (record.idle_before, record.measured, record.idle_after)
    before, measured, after = (_mean(series, span, confidence) for span in spans)
    idle_watts = (before.value + after.value) / 2
    if series.method != "external" and not MIN_WATTS <= measured.value <= MAX_WATTS:
        return f"the device would take {measured.value:.3g} W, which no phone does: sign or unit of the gauge is wrong"
    change = abs(after.value - before.value)
    if not idle_watts > 0 or change > MAX_IDLE_CHANGE_RATIO * idle_watts:
        return (
            f"the idle device took {before.value:.3g} W before and {after.value:.3g} W after: over "
            f"{MAX_IDLE_CHANGE_RATIO:.0%} apart, so nobody knows what the model took; let it cool down and rest"
        )
    idle_half = math.hypot(before.high - before.value, after.high - after.value) / 2 + change / 2
    net = measured.value - idle_watts
    # A series that is off by so much has at one end what the device took at rest in place of what the model took.
    clock_half = abs(net) * record.clock_uncertainty_seconds / record.measured.seconds
    half = math.hypot(measured.high - measured.value, idle_half) + clock_half
    if net - half <= 0:
        return (
            f"the device took {measured.value:.3g} W, at rest {idle_watts:.3g} W: too little more to tell "
            f"(±{half:.2g} W)"
        )
    seconds = record.measured.seconds / calls
    joules = Estimate(value=net * seconds, low=(net - half) * seconds, high=(net + half) * seconds)
    return Energy(joules, measured, idle_watts)


def _unresolved(record: PowerRecord) -> str | None:
    """Why the series says too little, whatever it says."""
    series, spans = record.series, (record.idle_before, record.measured, record.idle_after)
    if series.seconds[0] > spans[0].start_seconds + spans[0].seconds / 2 or any(
        span.seconds <= 0 or span.end_seconds > series.seconds[-1] + 0.1 * span.seconds for span in spans
    ):
        return f"{series.source} was not read over the whole time"
    quanta = changes(series, record.measured)
    if quanta < MIN_QUANTA:
        return _not_resolvable(record, quanta)
    if min(changes(series, span) for span in (spans[0], spans[2])) < BATCHES:
        return (
            f"not resolvable: {series.source} changed fewer than {BATCHES} times while the device rested; "
            "raise the protocol's idle_seconds"
        )
    return None


def changes(series: PowerSeries, span: Span) -> int:
    """How often the power is another than before within a span: what a gauge that refreshes slowly really tells."""
    starts = np.asarray(series.seconds[:-1])
    inside = np.asarray(series.watts)[(starts >= span.start_seconds) & (starts < span.end_seconds)]
    return int(np.count_nonzero(np.diff(inside)))


def _not_resolvable(record: PowerRecord, quanta: int) -> str:
    seconds = record.measured.seconds
    said = (
        f"not resolvable: {record.series.source} changed {quanta} times in the {seconds:.0f} s of the measured phase, "
        f"{MIN_QUANTA} are needed"
    )
    if not quanta:
        return said
    # Rounded up to tens, and some more: what a person would write.
    needed = math.ceil(1.2 * seconds * MIN_QUANTA / quanta / 10) * 10
    return f"{said}; measure for {needed} s (min_seconds, max_seconds)"


def _mean(series: PowerSeries, span: Span, confidence: float) -> Estimate:
    """Mean power over a span. The series is a step function, so its integral is linear between its times."""
    from scipy.stats import t

    seconds = np.asarray(series.seconds)
    joules: NDArray[np.float64] = np.concatenate(([0.0], np.cumsum(np.diff(seconds) * np.asarray(series.watts))))
    low, high = max(span.start_seconds, series.seconds[0]), min(span.end_seconds, series.seconds[-1])
    edges = np.linspace(low, high, BATCHES + 1)
    means = np.diff(np.interp(edges, seconds, joules)) / np.diff(edges)
    value = float(means.mean())
    half = float(t.ppf((1 + confidence) / 2, BATCHES - 1) * means.std(ddof=1) / math.sqrt(BATCHES))
    return Estimate(value=value, low=value - half, high=value + half)
