"""A whole night of a sweep against its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from farm.analysis.quantities import quantity
from farm.analysis.regression.finding import Change, ChangeKind, Examination, Finding, Line
from farm.analysis.regression.grid import grid, limit
from farm.analysis.regression.grouping import findings, noisy
from farm.analysis.regression.judgement import Judgement, judge
from farm.analysis.regression.missing import missing
from farm.analysis.regression.verdicts import FEWEST_REPEATS, noise_ratios, verdicts
from farm.errors import InternalError
from farm.types import AlertRule, Baseline, SeriesKey

# A device is called noisy when its noise is so many times that of the device in the middle, or its own before; and
# quiet again when its noise of late is less than so many times. In between it stays what it is called.
_NOISY_TIMES = 2.5
_QUIET_TIMES = 2.0
_FEWEST_DEVICES = 3


def examine(lines: Sequence[Line], rules: Sequence[AlertRule], baseline: Baseline) -> Examination:
    """What changed on the last night of ``lines``, for the worse or the better, and what is missing.

    Give it all nights there are, up to some months: the noise is learned from them. Raises UserError for a rule of a
    metric that there is none of, or without a limit; InternalError for lines of different lengths.
    """
    if len({len(line.points) for line in lines}) > 1:
        raise InternalError("The lines of a night are of different lengths.", remedy="Report it.")
    limits = {rule.metric: limit(rule, quantity(rule.metric)) for rule in rules}
    judgements = _judgements(lines, list(limits), baseline)
    comparisons = sum(judgement.comparisons for judgement in judgements)
    changes: list[Change] = missing(lines, list(limits))
    gone = {change.key for change in changes}
    ratios: dict[tuple[str, str], float] = {}
    for judgement in judgements:
        found = verdicts(judgement, limits[judgement.grid.quantity.name], comparisons, baseline)
        changes += [change for change in found if change.key not in gone]
        ratios |= noise_ratios(judgement)
    wild, quiet = _noisy(judgements, changes, ratios)
    told = findings(changes, list(limits)) + wild
    return Examination(tuple(changes), tuple(told), comparisons, MappingProxyType(ratios), quiet)


def _judgements(lines: Sequence[Line], metrics: Sequence[str], baseline: Baseline) -> list[Judgement]:
    """Virtual devices and real ones learn nothing from each other."""
    if not lines or len(lines[0].points) < 2:
        return []
    kinds = [[line for line in lines if is_virtual(line) is virtual] for virtual in (False, True)]
    return [judge(grid(some, quantity(metric)), baseline) for some in kinds if some for metric in metrics]


def is_virtual(line: Line) -> bool:
    return any(point.virtual for point in line.points if point is not None)


def _noisy(
    judgements: Sequence[Judgement], changes: Sequence[Change], ratios: dict[tuple[str, str], float]
) -> tuple[list[Finding], frozenset[str]]:
    """One a device, with every metric that it is noisy in; and the devices that are quiet in all."""
    found: dict[str, list[tuple[str, float]]] = {}
    usual: dict[str, float] = {}
    shown: dict[str, Change] = {}
    quiet: dict[str, bool] = {}
    by_key = {change.key: change for change in changes if change.kind is not ChangeKind.MISSING}
    for judgement in judgements:
        floor, metric = judgement.noise, judgement.grid.quantity.name
        known = floor.values >= FEWEST_REPEATS
        middle = float(np.median(floor.total[known])) if known.sum() >= _FEWEST_DEVICES else 0.0
        for index, device in enumerate(judgement.grid.devices):
            total, before = float(floor.total[index]), float(floor.total[index] / floor.widened[index])
            if not known[index] or min(total, before) <= 0:
                continue
            reference = min(each for each in (middle or before, before) if each > 0)
            lately = float(np.fmin(total, floor.recent[index]))
            quiet[device] = quiet.get(device, True) and lately < _QUIET_TIMES * reference
            if total >= _NOISY_TIMES * reference and lately >= _QUIET_TIMES * reference:
                found.setdefault(device, []).append((metric, ratios[device, metric]))
                usual.setdefault(device, ratios[device, metric] * reference / total)
                if change := _wildest(judgement, index, by_key):
                    shown.setdefault(device, change)
    smallest: dict[tuple[str, str], list[float]] = {}
    for change in changes:
        if change.smallest_ratio is not None:
            smallest.setdefault((change.key.device, change.key.metric), []).append(change.smallest_ratio)
    told = [
        noisy(device, metrics, usual[device], _median(smallest.get((device, metrics[0][0]), [])), shown.get(device))
        for device, metrics in found.items()
    ]
    return told, frozenset(device for device, is_quiet in quiet.items() if is_quiet)


def _wildest(judgement: Judgement, device: int, changes: Mapping[SeriesKey, Change]) -> Change | None:
    """Of the lines of a device that were measured tonight, the one whose figures differ most."""
    grid = judgement.grid
    rows = sorted(grid.rows(device).tolist(), key=lambda row: -float(judgement.noise.own[row]))
    return next((change for row in rows if (change := changes.get(grid.lines[row].key(grid.quantity.name)))), None)


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
