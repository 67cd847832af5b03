"""Which of two figures is better, as far as their intervals tell. Pure and light."""

from __future__ import annotations

import math

from farm.analysis.quantities import Quantity
from farm.analysis.ratio import ratio
from farm.types import Estimate


def clearly_less(one: Estimate, other: Estimate) -> bool:
    """Whether the interval of what lies between them leaves out equality: of their ratio where both are positive, as
    everywhere in the farm, else of their difference (MOVER without logarithms; see ``farm.analysis.ratio``)."""
    if min(one.low, other.low) > 0:
        return ratio(one, other).high < 1
    return one.value - other.value + math.hypot(one.high - one.value, other.value - other.low) < 0


def clearly_better(metric: Quantity, one: Estimate, other: Estimate) -> bool:
    return clearly_less(other, one) if metric.higher_is_better else clearly_less(one, other)


def told_apart(one: Estimate, other: Estimate) -> bool:
    return clearly_less(one, other) or clearly_less(other, one)


def cost(metric: Quantity, figure: Estimate) -> float:
    """The smaller the better, by the value alone: to sort by."""
    return -figure.value if metric.higher_is_better else figure.value
