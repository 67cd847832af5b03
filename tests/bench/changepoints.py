"""Which library finds a step in thirty nights soonest, at the same false alarms, and how long it takes.

    python -m tests.bench.changepoints

Series are normal, in units of their noise, with a step 6 nights before the last. Each finder is asked every night from
the step on; its threshold is the one with which ``FALSE_RATE`` of the steady series have a change-point in the nights
after the step. Apache Otava is measured where it is installed (a virtual environment of its own: it pins numpy).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tests.bench import report

Series = NDArray[np.float64]
NIGHTS, AFTER = 30, 6
STEPS = (2.0, 3.0, 5.0)
FALSE_RATE = 0.01
STEADY, CHANGED = 2_000, 300

# Takes a series and a threshold (the larger, the fewer are found): where its change-points are.
Finder = Callable[[Series, float], list[int]]


def ruptures_kernel(series: Series, threshold: float) -> list[int]:
    import ruptures

    found = ruptures.KernelCPD(kernel="linear", min_size=2).fit(series.reshape(-1, 1)).predict(pen=threshold)
    return list(found[:-1])


def ruptures_pelt(series: Series, threshold: float) -> list[int]:
    import ruptures

    found = ruptures.Pelt(model="l2", min_size=2, jump=1).fit(series.reshape(-1, 1)).predict(pen=threshold)
    return list(found[:-1])


def otava(series: Series, threshold: float) -> list[int]:
    from otava.analysis import compute_change_points

    found, _ = compute_change_points(list(100 + series), max_pvalue=math.exp(-threshold))
    return [each.index for each in found]


FINDERS: dict[str, tuple[Finder, tuple[float, ...]]] = {
    "ruptures_kernel": (ruptures_kernel, tuple(np.arange(6.0, 24.0, 1.0))),
    "ruptures_pelt": (ruptures_pelt, tuple(np.arange(6.0, 24.0, 1.0))),
    "otava": (otava, tuple(np.arange(4.0, 12.0, 0.5))),
}


def late(found: list[int]) -> bool:
    return any(index >= NIGHTS - AFTER - 1 for index in found)


def calibrated(finder: Finder, thresholds: tuple[float, ...], steady: list[Series]) -> tuple[float, float]:
    """The smallest threshold with at most ``FALSE_RATE``, and the rate that it has."""
    for threshold in thresholds:
        rate = sum(late(finder(series, threshold)) for series in steady) / len(steady)
        if rate <= FALSE_RATE:
            return threshold, rate
    return threshold, rate


def delay(finder: Finder, threshold: float, series: Series) -> int | None:
    """Nights from the step until it is found; None where it is not by the last."""
    for nights in range(1, AFTER + 1):
        if late(finder(series[: NIGHTS - AFTER + nights], threshold)):
            return nights
    return None


def main() -> None:
    random = np.random.default_rng(1)
    steady = [random.standard_normal(NIGHTS) for _ in range(STEADY)]
    figures: dict[str, float] = {}
    for name, (finder, thresholds) in FINDERS.items():
        slow = name == "otava"
        try:
            threshold, rate = calibrated(finder, thresholds, steady[: 400 if slow else STEADY])
        except ImportError:
            continue
        took = []
        for series in steady[:200]:
            began = time.perf_counter()
            finder(series, threshold)
            took.append(time.perf_counter() - began)
        figures |= {
            f"{name}_threshold": threshold,
            f"{name}_false_rate": rate,
            f"{name}_seconds_per_series": statistics.median(took),
        }
        for step in STEPS:
            chance = np.random.default_rng(2)
            found = []
            for _ in range(CHANGED // (3 if slow else 1)):
                series = chance.standard_normal(NIGHTS)
                series[NIGHTS - AFTER :] += step
                found.append(delay(finder, threshold, series))
            known = [nights for nights in found if nights is not None]
            figures[f"{name}_found_rate_{step:g}_sigma"] = len(known) / len(found)
            figures[f"{name}_delay_nights_{step:g}_sigma"] = statistics.mean(known) if known else math.nan
    print(report.table([("figure", "value"), *((key, float(value)) for key, value in figures.items())]))
    print(f"\nWritten to {report.write('changepoints', figures)}.")


if __name__ == "__main__":
    main()
