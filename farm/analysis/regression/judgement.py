"""What the last night of a metric's grid says: changes in numbers, on the scale of the grid, with their errors.

Two questions are asked of each line and each device: does tonight's figure differ from the baseline (a jump), and do
the last few nights differ from those before them (a step)? The first sees a large change at once, the second a small
one after a few nights. What all variants of a device share tonight is taken out of its lines, and judged for itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from farm.analysis.regression.changepoint import Step, last_step
from farm.analysis.regression.grid import Codes, Grid, Values
from farm.analysis.regression.noise import FEWEST_LINES, TAILS_OF_FEW, Noise, median, noise, spread, wider
from farm.types import Baseline

FEWEST_BASELINE_NIGHTS = 3
_MEDIAN_VARIANCE = math.pi / 2  # of a median of normal values, to that of their mean
_LONGEST_MEMORY = 0.9


@dataclass(frozen=True)
class Effects:
    """By line, by device, or of one: ``size`` for the worse with its standard error; ``p_value`` of its being none, of
    the better of two questions, both counted. ``since``: the first column after the step, -1 where it is a jump only.
    ``jump_error``: of tonight against the baseline, for what could have been told."""

    size: Values
    error: Values
    p_value: Values
    since: Codes
    jump_error: Values


@dataclass(frozen=True)
class Judgement:
    """``tonight``: the noise, with what tonight shows of it.

    ``base_columns``: of a baseline that is one night, the column, -1 for other baselines. ``base_counts``: nights.
    ``groups``: rows of one variant in one scenario, for ``variants``."""

    grid: Grid
    noise: Noise
    tonight: Noise
    base: Values  # by line, as measured
    own_base: Values  # by line, without what was shared
    shift: Values  # by device: what its lines share tonight, NaN where too few tell
    base_counts: Codes
    base_columns: Codes
    lines: Effects
    devices: Effects
    night: Effects
    groups: tuple[Codes, ...]
    variants: Effects

    @property
    def comparisons(self) -> int:
        each = (self.lines, self.devices, self.night, self.variants)
        return int(sum(np.isfinite(effects.p_value).sum() for effects in each))


def judge(grid: Grid, baseline: Baseline) -> Judgement:
    """Needs two nights or more."""
    floor = noise(grid)
    own_past = grid.values[:, :-1] - np.nan_to_num(floor.shared)[grid.device_of]
    base_own, counts, columns = _levels(grid, own_past, baseline)
    base_seen, _, _ = _levels(grid, grid.values[:, :-1], baseline)
    difference = grid.values[:, -1] - base_own
    shift, known = _shared(grid, difference)
    own = difference - shift[grid.device_of]
    widened = np.asarray(
        [
            wider(spread(own[grid.rows(device)]), floor.device_own[device], known[device])
            for device in range(len(grid.devices))
        ]
    )
    tonight = floor.widened_by(widened, grid.device_of)
    own_noise = tonight.own
    share = np.where(known >= FEWEST_LINES, _MEDIAN_VARIANCE * floor.device_own**2 / np.maximum(known, 1), 0.0)
    once = np.where(counts == 1, 1.0, _MEDIAN_VARIANCE / np.maximum(counts, 1))
    jump_error = np.sqrt(_night_variance(grid, own_noise) + once * own_noise**2 + share[grid.device_of])
    steps = baseline.mode != "pinned"
    lines = _effects(
        own,
        jump_error,
        np.column_stack([own_past, grid.values[:, -1] - shift[grid.device_of]]),
        own_noise,
        floor.tails[0],
        baseline.nights if steps else 0,
    )
    device_base, device_once = _device_base(floor.shared, baseline)
    common = tonight.common
    moved = np.where(known >= FEWEST_LINES, shift - device_base, math.nan)
    devices = _effects(
        moved,
        np.sqrt(common**2 * (1 + device_once) + share),
        np.column_stack([floor.shared, np.where(known >= FEWEST_LINES, shift, math.nan)]),
        common,
        floor.tails[1],
        baseline.nights if steps else 0,
    )
    groups = _variants(grid)
    return Judgement(
        grid,
        floor,
        tonight,
        base_seen,
        base_own,
        np.where(known >= FEWEST_LINES, shift, math.nan),
        counts,
        columns,
        lines,
        devices,
        _night(moved, tonight, baseline),
        groups,
        _together(groups, lines, floor.tails[0]),
    )


def _levels(grid: Grid, past: Values, baseline: Baseline) -> tuple[Values, Codes, Codes]:
    """By line: the level before, NaN where there is none; of how many nights; the column where it is of one."""
    rows = past.shape[0]
    level, counts = np.full(rows, math.nan), np.zeros(rows, dtype=np.int64)
    columns = np.full(rows, -1, dtype=np.int64)
    if baseline.mode == "window":
        window = past[:, -baseline.nights :]
        counts = np.isfinite(window).sum(axis=1)
        enough = counts >= FEWEST_BASELINE_NIGHTS
        return np.where(enough, median(window, 1), math.nan), np.where(enough, counts, 0), columns
    for row in range(rows):
        if baseline.mode == "pinned":
            pinned = grid.lines[row].pinned
            if pinned is not None and pinned.trusted:
                level[row], _ = grid.scale(pinned.figures.get(grid.quantity.name))
                counts[row] = 1
            continue
        known = np.flatnonzero(np.isfinite(past[row]))
        if baseline.mode == "last-trusted" and len(known):
            columns[row], counts[row] = known[-1], 1
            level[row] = past[row, known[-1]]
    return level, counts, columns


def _shared(grid: Grid, difference: Values) -> tuple[Values, Codes]:
    """By device, what its lines did alike, 0 where too few tell; and how many tell."""
    shift, known = np.zeros(len(grid.devices)), np.zeros(len(grid.devices), dtype=np.int64)
    for device in range(len(grid.devices)):
        values = difference[grid.rows(device)]
        values = values[np.isfinite(values)]
        known[device] = len(values)
        if len(values) >= FEWEST_LINES:
            shift[device] = np.median(values)
    return shift, known


def _night_variance(grid: Grid, own_noise: Values) -> Values:
    """Between nights, with tonight's own interval in place of the usual one: the repeats' spread holds both."""
    usual = np.asarray([np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else 0.0 for row in grid.errors])
    tonight = np.nan_to_num(grid.errors[:, -1])
    return np.asarray(np.maximum(own_noise**2 - usual**2, 0.0) + np.maximum(tonight, 0.0) ** 2)


def _device_base(shared: Values, baseline: Baseline) -> tuple[Values, float]:
    """The level of what is shared, and its variance to that of one night."""
    if baseline.mode == "pinned":
        return np.zeros(len(shared)), 1.0
    if baseline.mode == "last-trusted":
        return np.nan_to_num(shared[:, -1]), 1.0
    recent = shared[:, -baseline.nights :]
    return np.nan_to_num(median(recent, 1)), _MEDIAN_VARIANCE / recent.shape[1]


def _effects(
    jump: Values, jump_error: Values, series: Values, scale: Values, tails: float, longest_after: int
) -> Effects:
    """``longest_after``: nights that a step is news; 0: steps are not asked for."""
    from scipy.stats import t

    size, error, since = jump.copy(), jump_error.copy(), np.full(len(jump), -1, dtype=np.int64)
    p_value = np.asarray(2 * t.sf(_standardized(jump, jump_error), tails))
    if longest_after:
        memory = _memory(series[:, :-1], scale)
        p_value = np.minimum(1.0, 2 * p_value)
        for row in np.flatnonzero(np.isfinite(jump)):
            step = last_step(series[row], float(scale[row]), longest_after)
            if step is None:
                continue
            step_error = float(scale[row]) * math.sqrt(memory * (1 / step.after + _MEDIAN_VARIANCE / step.before))
            chance = 2 * longest_after * _chance(step, step_error, float(scale[row]), memory, tails)
            if step.size * jump[row] > 0 and chance <= p_value[row]:
                size[row], error[row], since[row] = step.size, step_error, step.column
                p_value[row] = min(1.0, chance)
            elif step.size * jump[row] > 0:
                since[row] = step.column
    return Effects(size, error, p_value, since, jump_error)


def _chance(step: Step, error: float, scale: float, memory: float, tails: float) -> float:
    """Of nothing but noise at one place: two-sided, the better of two tests, both counted.

    The mean is the sharper of the two where the noise is near to normal. That *every* night since is on the same side,
    and as far as the nearest of them, is what a single wild night cannot bring about.
    """
    from scipy.stats import t

    of_mean = float(
        t.sf(_standardized(np.asarray([step.size]), np.asarray([error]))[0], _tails_of_mean(tails, step.after))
    )
    base_error = scale * math.sqrt(memory * _MEDIAN_VARIANCE / step.before)
    nearest = np.asarray([max(0.0, step.nearest - 2 * base_error)])
    of_nearest = math.pow(float(t.sf(_standardized(nearest, np.asarray([scale]))[0], tails)), step.after / memory)
    return min(1.0, 2 * 2 * min(of_mean, of_nearest))


def _standardized(size: Values, error: Values) -> Values:
    """An exact quantity has no error: any change of it is one. Less than the last digits is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.abs(size) / error
    exact = error <= 0
    far[exact] = np.where(np.abs(size[exact]) > 1e-9, math.inf, 0.0)
    return np.asarray(np.where(np.isfinite(size), far, math.nan))


def _tails_of_mean(tails: float, count: int) -> float:
    """The excess kurtosis of a mean of independent values is that of one of them over their number."""
    return 4 + count * (tails - 4) if tails > 4 else tails


def _memory(series: Values, scale: Values) -> float:
    """How many times the variance of a mean of neighbouring nights is that of independent ones: (1 + r) / (1 - r)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.clip(series / scale[:, None], -3, 3)
    pairs = np.isfinite(values[:, :-1]) & np.isfinite(values[:, 1:])
    centred = values - np.nanmean(values, axis=1, keepdims=True) if pairs.any() else values
    power = float(np.nansum(centred**2))
    if not pairs.any() or power <= 0:
        return 1.0
    nights = max(2.0, float(np.isfinite(values).sum(axis=1).mean()))
    found = float(np.nansum((centred[:, :-1] * centred[:, 1:])[pairs])) / power
    # The estimate of a short series is too small (F. H. C. Marriott and J. A. Pope, Biometrika 41 (1954) 390-402).
    correlation = min(max(found + (1 + 3 * found) / nights, 0.0), _LONGEST_MEMORY)
    return (1 + correlation) / (1 - correlation)


def _variants(grid: Grid) -> tuple[Codes, ...]:
    rows: dict[tuple[str, str], list[int]] = {}
    for row, line in enumerate(grid.lines):
        rows.setdefault((line.variant, line.scenario), []).append(row)
    return tuple(np.asarray(each, dtype=np.int64) for each in rows.values())


def _together(groups: tuple[Codes, ...], lines: Effects, tails: float) -> Effects:
    """Of one variant over many devices a change is seen that no single one can show."""
    found = [_middle_of(lines.size[rows], lines.error[rows], tails) for rows in groups]
    size, error, p_value = (np.asarray([each[part] for each in found]) for part in range(3))
    return Effects(size, error, p_value, np.full(len(groups), -1, dtype=np.int64), error)


def _middle_of(size: Values, error: Values, tails: float) -> tuple[float, float, float]:
    from scipy.stats import t

    known = np.isfinite(size)
    if known.sum() < FEWEST_LINES:
        return math.nan, math.nan, math.nan
    middle = np.asarray([np.median(size[known])])
    spread_of_middle = np.asarray([math.sqrt(_MEDIAN_VARIANCE / known.sum()) * float(np.median(error[known]))])
    far = _standardized(middle, spread_of_middle)
    freedoms = _tails_of_mean(tails, int(known.sum()))
    return float(middle[0]), float(spread_of_middle[0]), float(2 * t.sf(far, freedoms)[0])


def _night(moved: Values, floor: Noise, baseline: Baseline) -> Effects:
    """What all devices did alike, against what they did alike on the nights before."""
    from scipy.stats import t

    none = np.full(1, math.nan)
    if np.isfinite(moved).sum() < FEWEST_LINES:
        return Effects(none, none, none, np.full(1, -1, dtype=np.int64), none)
    devices = np.isfinite(moved)
    before = median(floor.shared[devices], 0)
    _, once = _device_base(before[None, :], baseline)
    single = math.sqrt(_MEDIAN_VARIANCE / devices.sum()) * float(np.median(floor.common[devices]))
    error = np.asarray([math.hypot(spread(before), single) * math.sqrt(1 + once)])
    size = np.asarray([float(np.median(moved[devices]))])
    p_value = 2 * t.sf(_standardized(size, error), TAILS_OF_FEW)
    return Effects(size, error, p_value, np.full(1, -1, dtype=np.int64), error)
