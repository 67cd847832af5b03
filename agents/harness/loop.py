"""The latency loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

StoppedBy = Literal["interval", "time", "samples"]
Samples = NDArray[np.int64]

CHECK_GROWTH = 1.2  # each look at the series comes after a fifth more samples than the last


def collect(
    run: Callable[[], Any],
    *,
    first_check: int,
    at_least: int,
    max_samples: int | None,
    max_seconds: float,
    reached: Callable[[Samples], bool],
) -> StoppedBy:
    """Time ``run()`` until ``reached(samples)`` (``interval``), the time or the number of samples is used up.

    ``samples`` are nanoseconds, one per run so far. ``reached`` is asked outside the timed section, first after
    ``first_check`` runs and then at growing distances, and always once more before the loop ends for another reason.
    The time does not count before ``at_least`` runs.
    Inside the timed section there is only ``run()`` between two reads of the clock; where its duration goes is
    allocated beforehand.
    """
    clock = time.perf_counter_ns
    samples = np.zeros(0, dtype=np.int64)
    count = 0
    check = first_check if max_samples is None else min(first_check, max_samples)
    end, deadline = 0, clock() + int(max_seconds * 1e9)
    while True:
        samples = np.concatenate([samples, np.zeros(check - count, dtype=np.int64)])
        while count < check and (end < deadline or count < at_least):
            begin = clock()
            run()
            end = clock()
            samples[count] = end - begin
            count += 1
        if reached(samples[:count]):
            return "interval"
        if end >= deadline and count >= at_least:
            return "time"
        if count == max_samples:
            return "samples"
        check = max(count + 1, int(count * CHECK_GROWTH))
        if max_samples is not None:
            check = min(check, max_samples)
