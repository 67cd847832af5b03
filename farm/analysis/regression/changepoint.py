"""Where a series stepped last. The search is ruptures': PELT with squared deviations, over noise that is known.

C. Truong, L. Oudre and N. Vayatis, "Selective review of offline change point detection methods", Signal Processing 167
(2020). Why not Apache Otava: docs/regression-statistics.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farm.analysis.regression.grid import Values

FEWEST_NIGHTS = 8
FEWEST_AFTER = 2
FEWEST_BEFORE = 5
# What a change-point has to save in squared deviations, in units of the noise: a search, not the test.
_PENALTY = 10.0
_SMALLEST_NOISE = 1e-9


@dataclass(frozen=True)
class Step:
    """``column``: the first of the ``after`` nights since. ``size``: their mean less the median of ``before`` nights
    before it. ``nearest``: how far the nearest of them is from it, to the side of ``size``; below 0: on the other side.

    What is before is not left to the search, which would choose the nights that differ most.
    """

    column: int
    size: float
    nearest: float
    before: int
    after: int


def last_step(values: Values, noise: float, nights: int) -> Step | None:
    """Of a series with NaN where nothing is known. ``noise``: standard deviation from night to night. ``nights``: at
    most so many count as before, and as since: what is older is no news."""
    import ruptures

    columns = np.flatnonzero(np.isfinite(values))
    if len(columns) < FEWEST_NIGHTS:
        return None
    known = values[columns]
    standardized = (known - known[0]) / max(noise, _SMALLEST_NOISE)
    search = ruptures.KernelCPD(kernel="linear", min_size=FEWEST_AFTER).fit(standardized.reshape(-1, 1))
    *starts, _ = search.predict(pen=_PENALTY)
    if not starts:
        return None
    first = starts[-1]
    before = known[max(0, first - nights) : first]
    if len(known) - first > nights or len(before) < FEWEST_BEFORE:
        return None
    moved = known[first:] - np.median(before)
    # It finds two nights or more together: one that is still nearer to what was before does not belong to them.
    while len(moved) and abs(moved.mean()) > 0 and moved[0] / moved.mean() < 0.5:
        first, moved = first + 1, moved[1:]
    if len(moved) < FEWEST_AFTER:
        return None
    size = float(moved.mean())
    nearest = float((moved if size > 0 else -moved).min())
    return Step(int(columns[first]), size, nearest, len(before), len(moved))
