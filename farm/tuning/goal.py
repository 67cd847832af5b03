"""What a search is for: figures to make small or large, and limits that a variant must keep. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from farm.errors import UserError

Figures = Mapping[str, float | None]

# Of these the largest value is best, of all others the smallest.
LARGER_IS_BETTER = re.compile(
    r"parity_(cosine|snr_db|top\d+_agreement)|(accuracy|precision|recall|f1|auc|map|throughput).*|speedup"
)

_CONSTRAINT = re.compile(r"\s*(<=|>=)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Constraint:
    metric: str
    bound: Literal["<=", ">="]
    limit: float

    def violation(self, figures: Figures) -> float:
        """0 where it is kept, else how far it is missed, relative to the limit; infinite where there is no figure."""
        value = figures.get(self.metric)
        if value is None or math.isnan(value):
            return math.inf
        excess = value - self.limit if self.bound == "<=" else self.limit - value
        return max(0.0, excess / (abs(self.limit) or 1.0))

    def __str__(self) -> str:
        return f"{self.metric} {self.bound} {self.limit:g}"


@dataclass(frozen=True)
class Goal:
    """``objectives``: metrics to optimize, the first is what the search itself follows."""

    objectives: tuple[str, ...]
    constraints: tuple[Constraint, ...] = ()

    @classmethod
    def parse(cls, objective: str | Sequence[str], constraints: Mapping[str, str]) -> Goal:
        """``constraints``: ``{"parity_cosine": ">=0.999", "artifact_bytes": "<=8e6"}``. Raises UserError."""
        objectives = (objective,) if isinstance(objective, str) else tuple(objective)
        if not objectives:
            raise UserError("The search has no objective.", remedy='Give one, e.g. objective="latency_p50".')
        found = []
        for metric, text in constraints.items():
            match = _CONSTRAINT.fullmatch(text)
            if match is None:
                raise UserError(
                    f"The constraint {metric}={text!r} cannot be read.", remedy='Write "<=8e6" or ">=0.999".'
                )
            found.append(Constraint(metric, "<=" if match[1] == "<=" else ">=", float(match[2])))
        return cls(objectives, tuple(found))

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
        costs = {index: [self._cost(metric, candidates[index]) for metric in self.metrics] for index in kept}
        return [
            index
            for index in kept
            if math.isfinite(costs[index][0]) and not any(_dominates(costs[other], costs[index]) for other in kept)
        ]

    @staticmethod
    def _cost(metric: str, figures: Figures) -> float:
        value = figures.get(metric)
        if value is None or math.isnan(value):
            return math.inf
        return -value if LARGER_IS_BETTER.fullmatch(metric) else value


def _bounded(value: float) -> float:
    """In [-1, 1], in the same order; 1 for infinity."""
    return value / (1 + abs(value)) if math.isfinite(value) else math.copysign(1.0, value)


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and any(a < b for a, b in zip(one, other, strict=True))
