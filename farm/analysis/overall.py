"""One figure of several devices, with its interval. Pure and light."""

from __future__ import annotations

import math
from collections.abc import Sequence

from farm.analysis.order import cost
from farm.analysis.quantities import Quantity
from farm.types import Estimate


def overall(metric: Quantity, figures: Sequence[Estimate]) -> Estimate:
    """``figures``: one per device, at least one. The geometric mean of what is a size or a duration; of scores, and of
    what is not positive, the worst device's: nobody ships the mean of an accuracy."""
    if len(figures) == 1:
        return figures[0]
    if metric.score or min(figure.low for figure in figures) <= 0:
        return max(figures, key=lambda figure: cost(metric, figure))
    return geometric_mean(figures)


def geometric_mean(figures: Sequence[Estimate]) -> Estimate:
    """Of independent, positive figures of the same confidence, *on these devices*.

    The only mean of ratios that does not depend on which device or variant they are taken to: P. J. Fleming and J. J.
    Wallace, "How not to lie with statistics: the correct way to summarize benchmark results", CACM 29 (1986) 218-221.
    The interval combines those of the figures by MOVER on the log scale (``farm.analysis.ratio`` has the sources): the
    distances to the limits are added in squares and divided by the number of devices.
    """
    count = len(figures)
    mean = math.fsum(math.log(figure.value) for figure in figures) / count
    below = math.hypot(*(math.log(figure.value / figure.low) for figure in figures)) / count
    above = math.hypot(*(math.log(figure.high / figure.value) for figure in figures)) / count
    return Estimate(value=math.exp(mean), low=math.exp(mean - below), high=math.exp(mean + above))


def like_these(figures: Sequence[Estimate], confidence: float) -> Estimate:
    """The geometric mean *on devices like these*: at least two positive figures.

    Student's t interval of the mean of the logarithms: it takes the devices for a random draw from those of interest
    and the logarithms of the ratios for about normal. Their spread holds both that between devices and that of the
    measurements. By chance it may come out smaller than the latter alone: then the interval on these devices stands.
    """
    logs = [math.log(figure.value) for figure in figures]
    mean = math.fsum(logs) / len(logs)
    variance = math.fsum((value - mean) ** 2 for value in logs) / (len(logs) - 1)
    half = student_t(confidence, len(logs) - 1) * math.sqrt(variance / len(logs))
    here = geometric_mean(figures)
    return Estimate(
        value=here.value, low=min(here.low, math.exp(mean - half)), high=max(here.high, math.exp(mean + half))
    )


def student_t(confidence: float, freedom: int) -> float:
    """The t within which ``confidence`` of Student's distribution lies, by bisection."""
    low, high = 0.0, 1.0
    while _within(high, freedom) < confidence:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < confidence else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """P(|T| < t): M. Abramowitz and I. A. Stegun, Handbook of Mathematical Functions (1964), 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    odd = freedom % 2
    term, total = (math.cos(angle) if odd else 1.0), 0.0
    for index in range(odd, freedom - 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (index + 1) / (index + 2)
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
