"""From a judgement's numbers to what is said of every series."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np

from farm.analysis.figures import number
from farm.analysis.regression.finding import Change, ChangeKind
from farm.analysis.regression.judgement import Effects, Judgement
from farm.types import Baseline, Estimate

# In a night in which nothing changed, how many changes are suspected for all that: shared by all its comparisons. Each
# costs a measurement in turns, no more: who asks for fewer finds a real change of 10 % days later.
FALSE_SUSPICIONS = 1.0
_LARGEST_P_VALUE = 0.001
FEWEST_REPEATS = 8

_NORMAL_95_ONE_SIDED = 1.644854
_NORMAL_95 = 1.959964
_PAIR = math.sqrt(2)
_LASTING, _LASTING_PLACES = 3, 14  # nights


def threshold(comparisons: int) -> float:
    """The largest p-value of a change."""
    return min(_LARGEST_P_VALUE, FALSE_SUSPICIONS / max(comparisons, 1))


def changed(effects: Effects, index: int, limit: float, comparisons: int) -> ChangeKind | None:
    """REGRESSED or IMPROVED where a change is certain, and one by the limit or more is not ruled out."""
    p_value, size = float(effects.p_value[index]), float(effects.size[index])
    if not math.isfinite(p_value) or p_value > threshold(comparisons):
        return None
    if abs(size) + _NORMAL_95 * float(effects.error[index]) < limit:
        return None
    return ChangeKind.REGRESSED if size > 0 else ChangeKind.IMPROVED


def noise_ratios(judgement: Judgement) -> dict[tuple[str, str], float]:
    """By device and metric: 95 % of repeats differ by less."""
    grid, noise = judgement.grid, judgement.noise
    return {
        (device, grid.quantity.name): grid.ratio(_NORMAL_95 * _PAIR * float(noise.total[index]))
        for index, device in enumerate(grid.devices)
        if noise.values[index] >= FEWEST_REPEATS
    }


def verdicts(judgement: Judgement, limit: float, comparisons: int, baseline: Baseline) -> list[Change]:
    """Of each line, but for those that have nothing tonight."""
    grid = judgement.grid
    ratios, told_errors = noise_ratios(judgement), _told_errors(judgement, comparisons)
    of_device = [changed(judgement.devices, index, limit, comparisons) for index in range(len(grid.devices))]
    of_night = changed(judgement.night, 0, limit, comparisons)
    of_variant: dict[int, ChangeKind | None] = {}
    for group, rows in enumerate(judgement.groups):
        of_variant |= dict.fromkeys(rows.tolist(), changed(judgement.variants, group, limit, comparisons))
    made = []
    for row, line in enumerate(grid.lines):
        point = line.points[-1]
        if point is None or (figure := point.figures.get(grid.quantity.name)) is None:
            continue
        device = int(grid.device_of[row])
        reasons = _reasons(judgement, row)
        kind, base, own, whole = ChangeKind.UNCLEAR, None, None, None
        size, error = float(judgement.lines.size[row]), float(judgement.lines.error[row])
        smallest = own_before = own_now = None
        if not reasons:
            wider_of = of_device[device] or of_night
            kind = _kind(judgement, row, limit, comparisons, (wider_of, of_variant.get(row)))
            own = grid.estimate(size, error)
            total = math.hypot(float(judgement.lines.jump_error[row]), _device_error(judgement, device))
            if math.isfinite(shift := float(judgement.shift[device])):
                own_before = grid.estimate(float(judgement.own_base[row]), 0.0).value
                own_now = grid.estimate(float(grid.values[row, -1]) - shift, 0.0).value
            whole = grid.estimate(float(grid.values[row, -1] - judgement.base[row]), total)
            base = _figure(judgement, row, total)
            smallest = grid.ratio(told_errors * float(judgement.lines.jump_error[row]))
            if kind is ChangeKind.UNCLEAR:
                reasons = (f"the noise hides it: {_LASTING} nights would show a lasting change of {_said(smallest)}",)
        column = int(judgement.lines.since[row])
        if column < 0 and of_device[device] is kind:
            column = int(judgement.devices.since[device])
        p_value = float(judgement.lines.p_value[row])
        base_job_id = _base_job(judgement, row, baseline)
        made.append(
            Change(
                line.key(grid.quantity.name),
                kind,
                math.expm1(limit) if not grid.quantity.score else limit,
                before=base,
                now=figure,
                change=whole,
                own_change=own,
                own_before=own_before,
                own_now=own_now,
                noise_ratio=ratios.get((line.device, grid.quantity.name)),
                smallest_ratio=smallest,
                p_value=min(1.0, p_value * comparisons) if math.isfinite(p_value) else None,
                baseline=_baseline(judgement, row, baseline),
                baseline_job_id=base_job_id,
                job_id=point.job_id,
                since=_since(judgement, row, column) if kind in (ChangeKind.REGRESSED, ChangeKind.IMPROVED) else None,
                reasons=reasons,
            )
        )
    return made


def _kind(
    judgement: Judgement, row: int, limit: float, comparisons: int, around: tuple[ChangeKind | None, ...]
) -> ChangeKind:
    """``around``: what became of its device and its variant: a line goes with them unless its own figure denies it."""
    own = changed(judgement.lines, row, limit, comparisons)
    if own is not None:
        return own
    size, error = float(judgement.lines.size[row]), float(judgement.lines.error[row])
    device, variant = around
    if device is not None:
        return device
    if variant is not None and abs(size) + _NORMAL_95 * error >= limit and (size > 0) == (variant == "regressed"):
        return variant
    return ChangeKind.STEADY if size + _NORMAL_95_ONE_SIDED * error < limit else ChangeKind.UNCLEAR


def _reasons(judgement: Judgement, row: int) -> tuple[str, ...]:
    grid = judgement.grid
    point = grid.lines[row].points[-1]
    if point is not None and not point.trusted:
        return (f"tonight's result is {point.verdict}: {', '.join(point.reasons) or 'no reason given'}",)
    if not math.isfinite(grid.values[row, -1]):
        return ("tonight's figure is not above zero",)
    if not math.isfinite(judgement.base[row]):
        return ("too few trusted nights before: there is no baseline",)
    if (repeats := int(judgement.noise.values.sum())) < FEWEST_REPEATS:
        return (f"the noise is not known: {repeats} repeats of one artifact on a device, {FEWEST_REPEATS} are needed",)
    return ()


def _device_error(judgement: Judgement, device: int) -> float:
    error = float(judgement.devices.jump_error[device])
    return error if math.isfinite(error) else 0.0


def _figure(judgement: Judgement, row: int, total: float) -> Estimate | None:
    """The baseline as a figure; its interval: that of the pinned or the last run, or of the middle of the window."""
    grid = judgement.grid
    pinned = grid.lines[row].pinned
    if (column := int(judgement.base_columns[row])) >= 0:
        return grid.figure(row, column)
    if judgement.base_counts[row] == 1 and pinned is not None:
        return pinned.figures.get(grid.quantity.name)
    error = float(judgement.noise.own[row]) * math.sqrt(math.pi / 2 / max(int(judgement.base_counts[row]), 1))
    return grid.estimate(float(judgement.base[row]), error)


def _told_errors(judgement: Judgement, comparisons: int) -> float:
    """How many errors of one night a lasting change has to be of, to show in 95 of 100 cases within the nights."""
    from scipy.stats import t

    tails = judgement.noise.tails[0]
    at_once = float(t.isf(threshold(comparisons) / 4, tails) + t.isf(0.05, tails))
    each = threshold(comparisons) / (8 * _LASTING_PLACES)
    lasting = float(t.isf(each ** (1 / _LASTING), tails) + t.isf(0.05 / _LASTING, tails))
    return min(at_once, lasting)


def _since(judgement: Judgement, row: int, column: int) -> datetime | None:
    if column < 0:
        return None
    points = judgement.grid.lines[row].points[column:]
    return next((point.measured_at for point in points if point is not None), None)


def _base_job(judgement: Judgement, row: int, baseline: Baseline) -> int | None:
    """The job of the pinned or last result; of a window, of the newest trusted one: an artifact to measure again.

    The newest before the change-point, where there is one: what came after it is of the new kind."""
    line = judgement.grid.lines[row]
    if baseline.mode == "pinned":
        return line.pinned.job_id if line.pinned else None
    end = int(judgement.lines.since[row])
    known = np.flatnonzero(np.isfinite(judgement.grid.values[row, : end if end > 0 else -1]))
    point = line.points[int(known[-1])] if len(known) else None
    return point.job_id if point else None


def _baseline(judgement: Judgement, row: int, baseline: Baseline) -> str:
    count = int(judgement.base_counts[row])
    if count == 0:
        return ""
    if baseline.mode == "pinned":
        return f"the result of run {baseline.run_id}"
    if baseline.mode == "last-trusted":
        point = judgement.grid.lines[row].points[int(judgement.base_columns[row])]
        return f"the last trusted result, of {point.measured_at:%Y-%m-%d}" if point else ""
    return f"the median of {count} trusted results of the last {baseline.nights} nights"


def _said(ratio: float) -> str:
    return f"{number(100 * ratio, 2)} %"
