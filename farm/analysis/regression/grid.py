"""The figures of one metric in numbers: a row a line, a column a night."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farm.analysis.quantities import Quantity
from farm.analysis.regression.finding import Line
from farm.errors import UserError
from farm.types import AlertRule, Estimate, VerdictLevel

Values = NDArray[np.float64]
Codes = NDArray[np.int64]

_NORMAL_95 = 1.959964


@dataclass(frozen=True)
class Grid:
    """``values``: larger is worse; logarithms, but for scores, which are taken as they are. NaN: no trusted figure.

    ``errors``: standard errors within each run. ``builds``: equal numbers are one artifact. ``device_of``: by row.
    """

    lines: tuple[Line, ...]
    quantity: Quantity
    values: Values
    errors: Values
    builds: Codes
    devices: tuple[str, ...]
    device_of: Codes

    def rows(self, device: int) -> Codes:
        return np.flatnonzero(self.device_of == device)

    def figure(self, row: int, column: int) -> Estimate | None:
        point = self.lines[row].points[column]
        return point.figures.get(self.quantity.name) if point else None

    def estimate(self, worse: float, error: float) -> Estimate:
        """Back from the scale of ``values``, with the interval of 95 %: of a level the figure, of a difference now over
        before (scores: now minus before)."""
        ends = sorted(self._as_people_say(worse + side * _NORMAL_95 * error) for side in (-1, 1))
        return Estimate(value=self._as_people_say(worse), low=ends[0], high=ends[1])

    def ratio(self, size: float) -> float:
        """The size of a difference as a share of the figure (scores: absolute)."""
        return size if self.quantity.score else math.expm1(min(size, 50.0))

    def scale(self, figure: Estimate | None) -> tuple[float, float]:
        """A figure on the scale of ``values``, and its standard error; NaN where it has none."""
        sign = -1.0 if self.quantity.higher_is_better else 1.0
        if figure is None or not math.isfinite(figure.value):
            return math.nan, math.nan
        if self.quantity.score:
            return sign * figure.value, (figure.high - figure.low) / 2 / _NORMAL_95
        if figure.value <= 0:
            return math.nan, math.nan
        low = figure.low if figure.low > 0 else figure.value**2 / max(figure.high, figure.value)
        return sign * math.log(figure.value), math.log(figure.high / low) / 2 / _NORMAL_95

    def _as_people_say(self, worse: float) -> float:
        signed = -worse if self.quantity.higher_is_better else worse
        return signed if self.quantity.score else math.exp(min(signed, 50.0))


def grid(lines: Sequence[Line], quantity: Quantity) -> Grid:
    devices = tuple(sorted({line.device for line in lines}))
    nights = len(lines[0].points) if lines else 0
    values, errors = (np.full((len(lines), nights), math.nan) for _ in range(2))
    builds = np.full((len(lines), nights), -1, dtype=np.int64)
    codes: dict[str, int] = {}
    made = Grid(
        tuple(lines),
        quantity,
        values,
        errors,
        builds,
        devices,
        np.asarray([devices.index(line.device) for line in lines], dtype=np.int64),
    )
    for row, line in enumerate(lines):
        for column, point in enumerate(line.points):
            if point is not None and point.trusted:
                values[row, column], errors[row, column] = made.scale(point.figures.get(quantity.name))
                builds[row, column] = codes.setdefault(point.build_key, len(codes))
    return made


def is_invalid(verdict: str) -> bool:
    return verdict == VerdictLevel.INVALID


def limit(rule: AlertRule, quantity: Quantity) -> float:
    """Of a rule, on the scale of a grid. Raises UserError for a rule that says nothing of the metric."""
    if quantity.score:
        if rule.max_drop is None:
            raise UserError(
                f"The alert rule of {rule.metric} has no max_drop.",
                remedy="Scores are compared by their difference: say max_drop: 0.01 for one hundredth.",
            )
        return rule.max_drop
    if rule.max_change_ratio is None or (quantity.higher_is_better and rule.max_change_ratio >= 1):
        raise UserError(
            f"The alert rule of {rule.metric} has no max_change_ratio"
            + (" below 1." if quantity.higher_is_better else "."),
            remedy="Say max_change_ratio: 0.03 for 3 %.",
        )
    if quantity.higher_is_better:
        return -math.log1p(-rule.max_change_ratio)
    return math.log1p(rule.max_change_ratio)
