"""How much figures differ from night to night though nothing changed: what a change has to exceed.

Repeats are what tells it: results of one artifact on one device in one scenario, on different nights. Their spread
holds everything that a run's own interval cannot know of: heat, other work, where memory came to lie. It has two parts,
which Tukey's median polish takes apart (J. W. Tukey, "Exploratory Data Analysis" (1977), chapter 11): what all variants
of a device share on a night (``common``: a warm phone is slow at everything), and what is a line's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from farm.analysis.regression.grid import Codes, Grid, Values

FEWEST_LINES = 5  # of a device, for what they share to be told from what is one's own
FEWEST_NIGHTS = 4  # of a line, for its own spread to count at all

# A spread of few values leans on that of its device, and that on the others', as if that many more had been seen.
_PRIOR_VALUES = 10
_RECENT_NIGHTS, _RECENT_NIGHTS_IN_COMMON = 5, 10
_MAD_OF_NORMAL = 1.482602
_MAD_VARIANCE = 1.36  # of a scale by MAD: times scale squared over count (Huber, "Robust Statistics" (1981), 5.1)
TAILS_OF_FEW = 5.0  # degrees of freedom where too few values tell
_HEAVIEST_TAILS, _LIGHTEST_TAILS = 3.0, 100.0
_VALUES_FOR_TAILS = 500


@dataclass(frozen=True)
class Noise:
    """Standard deviations between nights, by line and by device, and what the nights before had in common.

    ``own``: by line. ``common``: by device, 0 where it cannot be told from ``own``. ``shared``: devices x nights, the
    examined one left out; NaN where too few lines tell. ``tails``: degrees of freedom of the Student distribution that
    has them, of ``own`` and of ``common``. ``values``: by device, repeats that say so. ``recent``: by device, as
    ``total``, of the last nights alone, NaN where they are too few to tell. ``widened``: by device, how many times
    its usual noise it has lately, 1 where no more.
    """

    own: Values
    device_own: Values
    common: Values
    shared: Values
    tails: tuple[float, float]
    values: Codes
    recent: Values
    widened: Values
    from_repeats: bool

    def widened_by(self, times: Values, device_of: Codes) -> Noise:
        return replace(
            self,
            own=self.own * times[device_of],
            device_own=self.device_own * times,
            common=self.common * times,
            widened=self.widened * times,
        )

    @property
    def total(self) -> Values:
        """By device, as long as nothing is known of the night itself."""
        return np.hypot(self.device_own, self.common)


def noise(grid: Grid) -> Noise:
    """From all nights but the last."""
    past = grid.values[:, :-1]
    shared = np.zeros((len(grid.devices), past.shape[1]))
    residuals = np.full_like(past, math.nan)
    for device in range(len(grid.devices)):
        rows = grid.rows(device)
        shared[device], residuals[rows] = _polish(past[rows])
    repeats = _repeats(residuals, grid.builds[:, :-1])
    from_repeats = bool(np.isfinite(repeats).sum() >= np.isfinite(residuals).sum() / 2)
    own = repeats if from_repeats else residuals
    line_scale, line_count = _scale(own)
    by_device = [_scale(own[grid.rows(device)].reshape(1, -1)) for device in range(len(grid.devices))]
    device_scale = np.asarray([float(scale[0]) for scale, _ in by_device])
    device_count = np.asarray([int(count[0]) for _, count in by_device], dtype=np.int64)
    device_own = _leaning(device_scale, device_count, _middle(device_scale))
    lines_own = _leaning(line_scale, np.where(line_count < FEWEST_NIGHTS, 0, line_count), device_own[grid.device_of])
    together = np.asarray([len(grid.rows(device)) >= FEWEST_LINES for device in range(len(grid.devices))])
    common_scale, common_count = _scale(shared)
    common = np.where(together, _leaning(common_scale, common_count, _middle(common_scale)), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        tails = (
            _tails(own / lines_own[:, None]),
            _tails(shared / common[:, None]),
        )
    still = np.ones(len(grid.devices))
    recent_own, counts = _recent(grid, own, together)
    recent = np.hypot(recent_own, _recent_common(shared))
    usual = Noise(lines_own, device_own, common, shared, tails, device_count, recent, still, from_repeats)
    times = [wider(*each) for each in zip(recent_own.tolist(), device_own.tolist(), counts.tolist(), strict=True)]
    return usual.widened_by(np.asarray(times), grid.device_of)


def wider(found: float, usual: float, count: int) -> float:
    """How many times the usual noise was found, 1 where that many values may show as much by chance."""
    if count < FEWEST_LINES or usual <= 0 or not math.isfinite(found):
        return 1.0
    return found / usual if found > usual * (1 + 4 * math.sqrt(_MAD_VARIANCE / count)) else 1.0


def spread(values: Values) -> float:
    """Standard deviation by the median of absolute deviations, of normal values; NaN of none."""
    values = values[np.isfinite(values)]
    return float(_MAD_OF_NORMAL * np.median(np.abs(values - np.median(values)))) if len(values) else math.nan


def _polish(values: Values) -> tuple[Values, Values]:
    """What the rows share, by column, and what is left of each value without that and its row's middle."""
    shared = np.zeros(values.shape[1])
    enough = np.isfinite(values).sum(axis=0) >= FEWEST_LINES
    for _ in range(3):
        rows = median(values - shared, 1)
        shared = np.where(enough, median(values - rows[:, None], 0), 0.0)
        if enough.any():
            shared[enough] -= np.median(shared[enough])
    left = values - shared
    return np.where(enough, shared, math.nan), left - median(left, 1)[:, None]


def _repeats(residuals: Values, builds: Codes) -> Values:
    """Each about the middle of those of its line and artifact; NaN where an artifact was measured once."""
    found = np.full_like(residuals, math.nan)
    for row, line in enumerate(builds):
        for build in np.unique(line[line >= 0]):
            same = (line == build) & np.isfinite(residuals[row])
            if (count := int(same.sum())) >= 2:
                about = residuals[row, same] - np.median(residuals[row, same])
                found[row, same] = about * math.sqrt(count / (count - 1))
    return found


def _scale(values: Values) -> tuple[Values, Codes]:
    """Of each row the spread about 0, 0 where it has no value, and of how many values."""
    counts = np.isfinite(values).sum(axis=1)
    scale = _MAD_OF_NORMAL * median(np.abs(values), 1)
    return np.where(counts > 0, scale, 0.0), counts


def _leaning(scale: Values, counts: Codes, prior: Values | float) -> Values:
    """Each spread drawn to ``prior``, the more the fewer values it has."""
    return np.asarray(np.sqrt((counts * scale**2 + _PRIOR_VALUES * np.square(prior)) / (counts + _PRIOR_VALUES)))


def _middle(scale: Values) -> float:
    known = scale[scale > 0]
    return float(np.median(known)) if len(known) else 0.0


def _recent(grid: Grid, own: Values, together: NDArray[np.bool_]) -> tuple[Values, Codes]:
    """A device that became noisy a few nights ago must not be judged by the quiet weeks before, nor one that is quiet
    again by the wild ones: by device its spread of late, and of how many values."""
    found, counts = np.full(len(grid.devices), math.nan), np.zeros(len(grid.devices), dtype=np.int64)
    for device in np.flatnonzero(together):
        values = own[grid.rows(int(device)), -_RECENT_NIGHTS:]
        counts[device] = np.isfinite(values).sum()
        if counts[device] >= FEWEST_LINES:
            found[device] = spread(values)
    return found, counts


def _recent_common(shared: Values) -> Values:
    """By device. A night is one value: fewer than ten would call many a device quiet by chance. What it was on average
    does not count: a device that got slower for good is not noisy."""
    found = np.full(len(shared), math.nan)
    for device, row in enumerate(shared[:, -_RECENT_NIGHTS_IN_COMMON:]):
        values = row[np.isfinite(row)]
        if len(values) >= _RECENT_NIGHTS_IN_COMMON:
            found[device] = np.std(values, ddof=1)
    return found


def _tails(standardized: Values) -> float:
    """Degrees of freedom of the Student distribution with the same 99 % limit for its median of absolute values."""
    from scipy.stats import t

    values = np.abs(standardized[np.isfinite(standardized)])
    if len(values) < _VALUES_FOR_TAILS or (middle := np.median(values)) <= 0:
        return TAILS_OF_FEW
    freedoms = np.geomspace(_LIGHTEST_TAILS, _HEAVIEST_TAILS, 60)
    ratios = t.ppf(0.995, freedoms) / t.ppf(0.75, freedoms)
    return float(np.interp(np.quantile(values, 0.99) / middle, ratios, freedoms))


def median(values: Values, axis: int) -> Values:
    """NaN where there is nothing. Many times faster than numpy's, which masks arrays as small as these."""
    if values.shape[axis] == 0:
        return np.full(values.shape[1 - axis], math.nan)
    ordered = np.sort(values, axis=axis)  # NaN come last
    counts = np.expand_dims((~np.isnan(values)).sum(axis=axis), axis)
    low, high = (np.take_along_axis(ordered, np.maximum(place, 0), axis) for place in ((counts - 1) // 2, counts // 2))
    return np.asarray(np.squeeze((low + high) / 2, axis))
