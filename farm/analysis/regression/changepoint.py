"""Where a series stepped last. The search is ruptures' (C. Truong, L. Oudre and N. Vayatis, "Selective review of offline
change point detection methods", Signal Processing 167 (2020)): PELT with squared deviations, over noise that is known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from farm.analysis.regression.grid import Values

FEWEST_NIGHTS = 8
FEWEST_AFTER = 2
# What a change-point has to save in squared deviations, in units of the noise: a search, not the test.
_PENALTY = 10.0
_SMALLEST_NOISE = 1e-9


@dataclass(frozen=True)
class Step:
    """``column``: the first after it. ``size``: mean after less mean before, of ``after`` and ``before`` nights."""

    column: int
    size: float
    before: int
    after: int


def last_step(values: Values, noise: float) -> Step | None:
    """Of a series with NaN where nothing is known. ``noise``: standard deviation from night to night."""
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
    first, begin = starts[-1], starts[-2] if len(starts) > 1 else 0
    size = float(known[first:].mean() - known[begin:first].mean())
    return Step(int(columns[first]), size, first - begin, len(known) - first)
