"""When to stop: confidence interval of the median, and whether a series is steady. Pure functions."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

EXACT_UP_TO = 70  # Le Boudec's table is exact up to here; the normal approximation holds beyond


class Interval(NamedTuple):
    low: float
    median: float
    high: float

    @property
    def half_width_ratio(self) -> float:
        return (self.high - self.low) / 2 / self.median if self.median else math.inf


@lru_cache(maxsize=256)
def median_ranks(count: int, confidence: float) -> tuple[int, int] | None:
    """1-based ranks (j, k) of the order statistics that enclose the median with at least ``confidence``.

    Source: J.-Y. Le Boudec, Performance Evaluation of Computer and Communication Systems (EPFL Press, 2010), ch. 2,
    "Confidence interval for quantiles"; W. J. Conover, Practical Nonparametric Statistics, 3rd ed., sec. 3.2. It holds
    for any distribution of independent samples. None where there are too few samples for this confidence.
    """
    if count <= EXACT_UP_TO:
        tail, below = (1 - confidence) / 2 * 2**count, 0
        for rank in range(count // 2 + 1):  # largest j with P(Binomial(count, 1/2) <= j - 1) <= (1 - confidence) / 2
            below += math.comb(count, rank)
            if below > tail:
                return (rank, count + 1 - rank) if rank else None
        return None
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt(count) / 2
    low = math.floor(count / 2 - reach)
    return low, count + 1 - low


def independent_count(samples: NDArray[Any]) -> int:
    """How many independent samples tell as much about the median: at most ``len(samples)``, at least 1.

    The effective sample size of the indicator "at or below the median" (A. Vehtari et al., "Rank-normalization,
    folding, and localization: an improved R-hat", Bayesian Analysis 16 (2021), section 4.4), with the sum of
    autocorrelations cut by Geyer's initial monotone sequence (Statistical Science 7 (1992) 473-483). It is the count
    that ``farm.analysis.statistics`` concludes with, so that what stops here is not found wanting there.
    """
    count = len(samples)
    if count < 4:
        return count
    below = (samples <= np.median(samples)).astype(np.float64)
    below -= below.mean()
    power = float(below @ below)
    if power == 0:
        return count
    spectrum = np.fft.rfft(below, 1 << (2 * count - 1).bit_length())
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:count] / power
    pairs = correlation[0 : count // 2 * 2 : 2] + correlation[1 : count // 2 * 2 : 2]
    ends = np.flatnonzero(pairs <= 0)
    pairs = np.minimum.accumulate(pairs[: ends[0]] if len(ends) else pairs)
    return max(1, math.floor(count / max(1.0, 2 * float(pairs.sum()) - 1)))


def median_interval(samples: NDArray[Any], confidence: float) -> Interval | None:
    """Confidence interval of the median, allowing for serial correlation; None when there are too few samples.

    The ranks are those for ``independent_count`` samples, stretched over all of them. The stop rule looks
    repeatedly, so the true coverage is a little below ``confidence``; ``farm.analysis`` judges the final series.
    """
    return _interval(samples, confidence, independent_count(samples))


def _interval(samples: NDArray[Any], confidence: float, independent: int) -> Interval | None:
    ranks = median_ranks(independent, confidence)
    if ranks is None:
        return None
    ordered, stretch = np.sort(samples), (len(samples) + 1) / (independent + 1)
    low = max(1, math.floor(ranks[0] * stretch))
    high = min(len(samples), math.ceil(ranks[1] * stretch))
    return Interval(float(ordered[low - 1]), float(np.median(ordered)), float(ordered[high - 1]))


def steady(samples: NDArray[Any], confidence: float, tolerance_ratio: float) -> bool:
    """Whether a warm-up series has stopped getting faster: its last third against the third before it.

    It still gets faster when the confidence interval of the last median lies wholly below the one before, and the
    medians differ by more than ``tolerance_ratio``, which is what the measurement resolves. A series that gets slower
    is over its warm-up: drift and throttling are for the verdict to judge, not to be waited for.

    After A. Georges, D. Buytaert, L. Eeckhout, "Statistically Rigorous Java Performance Evaluation", OOPSLA 2007:
    steady state is found at run time over a window of the latest iterations, and two series differ when their
    confidence intervals do not overlap. Medians stand for their means because one interruption by the operating system
    must not prolong the warm-up.
    """
    third = len(samples) // 3
    # A trend would pass for correlation within a third, so here samples count as they are.
    before = _interval(samples[len(samples) - 2 * third : len(samples) - third], confidence, third)
    last = _interval(samples[len(samples) - third :], confidence, third)
    if before is None or last is None:
        return False
    return last.high >= before.low or before.median - last.median <= tolerance_ratio * before.median
