"""Does memory grow from inference to inference? Pure functions over what the harness read while they went on."""

from __future__ import annotations

from itertools import pairwise

from farm.types import Estimate, MemorySeries

PER_INFERENCES = 1000
MAX_GROWTH_BYTES = 2**20  # per 1,000 inferences; a leak of a kibibyte in each of them
_PARTS = 3


def growth(series: MemorySeries, confidence: float) -> Estimate:
    """Bytes per 1,000 inferences: the median slope between any two readings, with its interval.

    H. Theil (1950) and P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", Journal of the
    American Statistical Association 63 (1968) 1379-1389, as scipy has it: a single step of the allocator, wherever it
    falls, moves it little. Where there are fewer than two readings, it is not defined: the harness gives none then.
    """
    from scipy.stats import theilslopes

    found = theilslopes(series.memory_bytes, series.inferences, alpha=confidence)
    value, low, high = (float(slope) * PER_INFERENCES for slope in (found.slope, found.low_slope, found.high_slope))
    return Estimate(value=value, low=min(low, value), high=max(high, value))


def grows(series: MemorySeries, found: Estimate) -> bool:
    """Whether that is a leak: surely more than ``MAX_GROWTH_BYTES``, and in each third of the series.

    The second condition is for an allocator that takes its memory in few large steps and is then content.
    """
    cuts = [part * (len(series.memory_bytes) - 1) // _PARTS for part in range(_PARTS + 1)]
    everywhere = all(series.memory_bytes[end] > series.memory_bytes[begin] for begin, end in pairwise(cuts))
    return found.low > MAX_GROWTH_BYTES and everywhere
