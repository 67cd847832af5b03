"""Limits that a variant must keep: ``artifact_size<=8MB``, ``parity_cosine>=0.999``. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from farm.analysis.quantities import known
from farm.errors import UserError
from farm.types import Estimate

_TEXT = re.compile(r"\s*(<=|>=)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-zµ%]*)\s*")

# What a limit may be written in, and how much that is of the metric's own unit.
_UNITS = {
    "s": ("seconds", 1.0),
    "ms": ("seconds", 1e-3),
    "us": ("seconds", 1e-6),
    "µs": ("seconds", 1e-6),
    "B": ("bytes", 1.0),
    "kB": ("bytes", 1e3),
    "MB": ("bytes", 1e6),
    "GB": ("bytes", 1e9),
    "KiB": ("bytes", 2.0**10),
    "MiB": ("bytes", 2.0**20),
    "GiB": ("bytes", 2.0**30),
    "J": ("joules", 1.0),
    "mJ": ("joules", 1e-3),
    "W": ("watts", 1.0),
    "mW": ("watts", 1e-3),
    "%": ("ratio", 0.01),
}


class Standing(StrEnum):
    """``unsure``: the figure keeps the limit, its interval does not."""

    KEPT = "kept"
    UNSURE = "unsure"
    BROKEN = "broken"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Constraint:
    """``limit`` in the metric's own unit, ``said`` as it was written."""

    metric: str
    bound: Literal["<=", ">="]
    limit: float
    said: str = field(default="", compare=False)

    @classmethod
    def parse(cls, metric: str, text: str) -> Constraint:
        """``text``: ">=0.999", "<=8e6", "<=8MB", "<= 20 ms". Raises UserError."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise UserError(
                f"The constraint {metric}={text!r} cannot be read.", remedy='Write "<=8e6", "<=8MB" or ">=0.999".'
            )
        unit, factor = _UNITS.get(match[3], ("", 1.0))
        quantity = known(metric)
        if match[3] and unit != (quantity.unit if quantity else None):
            raise UserError(
                f"In the constraint {metric}{text}, {match[3]!r} is no unit of {metric}.",
                remedy=f"Without a unit it is in {quantity.unit}." if quantity else "Leave the unit out.",
            )
        return cls(
            metric, "<=" if match[1] == "<=" else ">=", float(match[2]) * factor, f"{float(match[2]):g}{match[3]}"
        )

    @classmethod
    def read(cls, text: str) -> Constraint:
        """``text``: "artifact_size<=8MB". Raises UserError."""
        for bound in ("<=", ">="):
            metric, found, limit = text.partition(bound)
            if found and metric.strip():
                return cls.parse(metric.strip(), bound + limit)
        raise UserError(f"The constraint {text!r} cannot be read.", remedy="Write METRIC<=LIMIT or METRIC>=LIMIT.")

    def excess(self, value: float | None) -> float:
        """0 where it is kept, else how far it is missed, relative to the limit; infinite where there is no figure."""
        if value is None or math.isnan(value):
            return math.inf
        excess = value - self.limit if self.bound == "<=" else self.limit - value
        return max(0.0, excess / (abs(self.limit) or 1.0))

    def violation(self, figures: Mapping[str, float | None]) -> float:
        """``excess`` of one of the figures."""
        return self.excess(figures.get(self.metric))

    def end(self, figure: Estimate) -> float:
        """The end of the interval that is nearer to breaking it."""
        return figure.high if self.bound == "<=" else figure.low

    def judge(self, figure: Estimate | None) -> Standing:
        """Kept only where the whole interval keeps it; a figure that is not there keeps nothing."""
        if figure is None or math.isnan(figure.value):
            return Standing.UNKNOWN
        if self.excess(self.end(figure)) == 0:
            return Standing.KEPT
        return Standing.UNSURE if self.excess(figure.value) == 0 else Standing.BROKEN

    def __str__(self) -> str:
        return f"{self.metric} {self.bound} {self.said or format(self.limit, 'g')}"


def constraints_of(given: Mapping[str, str] | Iterable[str]) -> tuple[Constraint, ...]:
    """``{"parity_cosine": ">=0.999"}`` or ``["parity_cosine>=0.999"]``. Raises UserError."""
    if isinstance(given, Mapping):
        return tuple(Constraint.parse(metric, text) for metric, text in given.items())
    if isinstance(given, str):
        return (Constraint.read(given),)
    return tuple(Constraint.read(text) for text in given)
