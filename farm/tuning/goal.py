"""What a search is for: figures to make small or large, and limits that a variant must keep. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import lt

from farm.analysis.constraint import Constraint, constraints_of
from farm.analysis.front import dominates, front
from farm.analysis.quantities import known
from farm.errors import UserError

Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class Goal:
    """``objectives``: metrics to optimize, the first is what the search itself follows."""

    objectives: tuple[str, ...]
    constraints: tuple[Constraint, ...] = ()

    @classmethod
    def parse(cls, objective: str | Sequence[str], constraints: Mapping[str, str] | Sequence[str]) -> Goal:
        """``constraints``: ``{"parity_cosine": ">=0.999", "artifact_bytes": "<=8e6"}``. Raises UserError."""
        objectives = (objective,) if isinstance(objective, str) else tuple(objective)
        if not objectives:
            raise UserError("The search has no objective.", remedy='Give one, e.g. objective="latency_p50".')
        return cls(objectives, constraints_of(constraints))

    @property
    def metrics(self) -> tuple[str, ...]:
        """All that it speaks of."""
        return tuple(dict.fromkeys([*self.objectives, *(constraint.metric for constraint in self.constraints)]))

    def broken(self, figures: Figures) -> tuple[Constraint, ...]:
        return tuple(constraint for constraint in self.constraints if constraint.violation(figures) > 0)

    def score(self, figures: Figures) -> float:
        """What the search makes small: the first objective, worse the further constraints are missed.

        Every variant that keeps all constraints scores better than any that does not (a static penalty, as in
        Coello Coello, "Theoretical and numerical constraint-handling techniques used with evolutionary algorithms",
        2002, section 2.1, over a bounded cost).
        """
        cost = self._cost(self.objectives[0], figures)
        violation = sum(constraint.violation(figures) for constraint in self.constraints)
        return _bounded(cost) if violation == 0 else 2.0 + _bounded(violation)

    def front(self, candidates: Sequence[Figures]) -> list[int]:
        """Indices of those that keep all constraints and that no other beats in every metric of the goal."""
        kept = [index for index, figures in enumerate(candidates) if not self.broken(figures)]
        costs = [[self._cost(metric, candidates[index]) for metric in self.metrics] for index in kept]
        smaller = [lt] * len(self.metrics)
        best = front([[dominates(one, other, smaller) for other in costs] for one in costs])
        return [kept[place] for place in best if math.isfinite(costs[place][0])]

    @staticmethod
    def _cost(metric: str, figures: Figures) -> float:
        value = figures.get(metric)
        if value is None or math.isnan(value):
            return math.inf
        quantity = known(metric)
        return -value if quantity and quantity.higher_is_better else value


def _bounded(value: float) -> float:
    """In [-1, 1], in the same order; 1 for infinity."""
    return value / (1 + abs(value)) if math.isfinite(value) else math.copysign(1.0, value)
