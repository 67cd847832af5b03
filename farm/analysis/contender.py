"""How one variant stands in one place to what is asked of it: an objective, and constraints. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from farm.analysis.constraint import Constraint, Standing
from farm.analysis.grid import Grid, doubt
from farm.analysis.overall import overall
from farm.analysis.quantities import Quantity, compared
from farm.analysis.wording import both, title
from farm.types import Estimate, VerdictLevel


@dataclass(frozen=True)
class Wish:
    """``objective`` is made as good as the ``constraints`` allow."""

    objective: Quantity
    constraints: tuple[Constraint, ...]
    trusted_only: bool = True

    def __str__(self) -> str:
        limits = ", ".join(str(limit) for limit in self.constraints)
        return f"best {title(self.objective)}{f' with {limits}' if limits else ''}"


@dataclass(frozen=True)
class Breach:
    """A constraint that is not certainly kept on ``device``. ``figure`` is None where it is not known."""

    constraint: Constraint
    standing: Standing
    device: str
    figure: Estimate | None

    @property
    def miss(self) -> float:
        """Relative to the limit, by the worse end of the interval; infinite where nothing is known."""
        return self.constraint.excess(self.constraint.end(self.figure) if self.figure else None)

    def __str__(self) -> str:
        metric = compared(self.constraint.metric)
        limit = str(self.constraint).removeprefix(self.constraint.metric).strip()
        if self.figure is None:
            return f"{title(metric)} is not known, so {limit} is not kept"
        said = f"{title(metric)} is {both(metric, self.figure)}, "
        return said + (f"not certainly {limit}" if self.standing is Standing.UNSURE else f"not {limit}")

    def to_dict(self) -> dict[str, Any]:
        return {
            "constraint": str(self.constraint),
            "standing": str(self.standing),
            "device": self.device,
            "figure": self.figure.model_dump() if self.figure else None,
            "miss_ratio": self.miss if math.isfinite(self.miss) else None,
        }


@dataclass(frozen=True)
class Contender:
    """``figure``: of the objective, over the place's devices (``overall``); None where ``unfit`` says why it cannot be
    shipped there whatever is asked. ``breaches``: one per constraint at most, of the device where it is missed most."""

    variant: str
    figure: Estimate | None
    unfit: str = ""
    breaches: tuple[Breach, ...] = ()
    suspect: bool = False

    @property
    def eligible(self) -> bool:
        return self.figure is not None and not self.breaches

    def to_dict(self) -> dict[str, Any]:
        return {
            "variant": self.variant,
            "figure": self.figure.model_dump() if self.figure else None,
            "suspect": self.suspect,
            "unfit": self.unfit,
            "breaches": [breach.to_dict() for breach in self.breaches],
        }


def contender(grid: Grid, variant: str, devices: Sequence[str], wish: Wish) -> Contender:
    """It must have a result that counts on every device, and keep every constraint on each."""
    rows = {device: grid.row(variant, device) for device in devices}
    for device, row in rows.items():
        if why := doubt(row, wish.objective, trusted_only=wish.trusted_only):
            return Contender(variant, None, why + (f" on {device}" if len(devices) > 1 else ""))
    known = {device: row for device, row in rows.items() if row}
    figures = [figure for row in known.values() if (figure := row.figure(wish.objective))]
    breaches = []
    for constraint in wish.constraints:
        metric = compared(constraint.metric)
        found = {device: row.figure(metric) for device, row in known.items()}
        if worst := _worst(constraint, found):
            breaches.append(worst)
    suspect = any(row.level is VerdictLevel.SUSPECT for row in known.values())
    return Contender(variant, overall(wish.objective, figures), "", tuple(breaches), suspect)


def _worst(constraint: Constraint, found: Mapping[str, Estimate | None]) -> Breach | None:
    breaches = [
        Breach(constraint, standing, device, figure)
        for device, figure in found.items()
        if (standing := constraint.judge(figure)) is not Standing.KEPT
    ]
    return max(breaches, key=lambda breach: breach.miss, default=None)
