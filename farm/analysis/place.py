"""Which variant to ship where, and what one variant for everything would cost. Pure.

Careful by construction: a constraint is kept only where the whole interval of the figure keeps it, and never by a
figure that is not known; only trusted results count unless suspect ones are asked for; in a place of several devices a
variant must keep everything on each of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from farm.analysis.constraint import Constraint
from farm.analysis.contender import Contender, Wish, contender
from farm.analysis.grid import Grid
from farm.analysis.order import clearly_better, cost, told_apart
from farm.analysis.ratio import ratio
from farm.errors import UserError
from farm.types import Device, Estimate

By = Literal["device", "device_model", "soc", "platform", "all"]
BY: tuple[By, ...] = ("device", "device_model", "soc", "platform", "all")
EVERYWHERE = "everywhere"


@dataclass(frozen=True)
class Place:
    """Where one variant is shipped: a device, or several. ``contenders``: what may be shipped first, best first.

    ``rivals`` may be shipped as well and cannot be told from ``chosen`` by the objective. ``binding``: constraints by
    which variants with a better objective fall out, with these. ``nearest``: where nothing is chosen, what misses
    least.
    """

    name: str
    virtual: bool
    devices: tuple[str, ...]
    contenders: tuple[Contender, ...]
    chosen: Contender | None
    rivals: tuple[Contender, ...]
    binding: Mapping[Constraint, tuple[str, ...]]
    nearest: Contender | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "place": self.name,
            "virtual": self.virtual,
            "devices": list(self.devices),
            "variant": self.chosen.variant if self.chosen else None,
            "rivals": [rival.variant for rival in self.rivals],
            "binding": {str(constraint): list(variants) for constraint, variants in self.binding.items()},
            "nearest": self.nearest.to_dict() if self.nearest else None,
            "contenders": [found.to_dict() for found in self.contenders],
        }


@dataclass(frozen=True)
class Everywhere:
    """One variant for all devices. ``costs``: by device, how many times worse the objective is there than that of the
    best variant that may be shipped there (1: it is the best one); for scores, how much lower. ``most``: where no
    variant may be shipped everywhere, the one that may on most devices, and ``missing`` the others."""

    place: Place
    costs: Mapping[str, Estimate]
    most: str | None = None
    missing: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return self.place.to_dict() | {
            "costs": {device: found.model_dump() for device, found in self.costs.items()},
            "most": self.most,
            "missing": list(self.missing),
        }


def place(grid: Grid, name: str, devices: Sequence[str], wish: Wish) -> Place:
    """Decide for one place."""
    found = [contender(grid, variant, devices, wish) for variant in grid.rows]
    found.sort(key=lambda one: (not one.eligible, _cost(wish, one), one.variant))
    chosen = found[0] if found and found[0].eligible else None
    rivals: list[Contender] = []
    binding: dict[Constraint, tuple[str, ...]] = {}
    for other in found:
        if other is chosen or other.figure is None:
            continue
        if other.eligible and chosen and chosen.figure and not told_apart(other.figure, chosen.figure):
            rivals.append(other)
        better = chosen is None or (chosen.figure and clearly_better(wish.objective, other.figure, chosen.figure))
        for breach in other.breaches if better else ():
            binding[breach.constraint] = (*binding.get(breach.constraint, ()), other.variant)
    measured = [one for one in found if one.figure is not None]
    nearest = None if chosen else min(measured, key=lambda one: (_miss(one), _cost(wish, one)), default=None)
    return Place(name, grid.virtual, tuple(devices), tuple(found), chosen, tuple(rivals), binding, nearest)


def places(grid: Grid, by: By, wish: Wish) -> tuple[Place, ...]:
    """One per device, or per group of devices that have the fact ``by`` in common."""
    groups: dict[str, list[str]] = {}
    for id, device in grid.devices.items():
        groups.setdefault(_group(device, by), []).append(id)
    return tuple(place(grid, name, devices, wish) for name, devices in groups.items())


def everywhere(grid: Grid, wish: Wish) -> Everywhere:
    """What one variant for all devices of the grid costs."""
    one = place(grid, EVERYWHERE, tuple(grid.devices), wish)
    each = places(grid, "device", wish)
    if one.chosen is None:
        able = {variant: [found.name for found in each if _eligible(found, variant)] for variant in grid.rows}
        most = max(able, key=lambda variant: len(able[variant]), default=None)
        if most is None or not able[most]:
            return Everywhere(one, {})
        return Everywhere(one, {}, most, tuple(found.name for found in each if found.name not in able[most]))
    costs: dict[str, Estimate] = {}
    for found in each:
        own = next(other for other in found.contenders if other.variant == one.chosen.variant)
        if own == found.chosen:
            none = 0 if wish.objective.score else 1
            costs[found.name] = Estimate(value=none, low=none, high=none)
        elif own.figure and found.chosen and found.chosen.figure:
            costs[found.name] = _times_worse(wish, own.figure, found.chosen.figure)
    return Everywhere(one, costs)


def by_of(text: str) -> By:
    """Raises UserError."""
    for known in BY:
        if text == known:
            return known
    raise UserError(f"Devices are not grouped by {text!r}.", remedy=f"Take one of {', '.join(BY)}.")


def _group(device: Device, by: By) -> str:
    if by == "device":
        return device.id
    return "all devices" if by == "all" else str(getattr(device.facts, by))


def _eligible(found: Place, variant: str) -> bool:
    return any(other.variant == variant and other.eligible for other in found.contenders)


def _cost(wish: Wish, one: Contender) -> float:
    return cost(wish.objective, one.figure) if one.figure else math.inf


def _miss(one: Contender) -> float:
    return math.fsum(breach.miss for breach in one.breaches)


def _times_worse(wish: Wish, own: Estimate, best: Estimate) -> Estimate:
    if min(own.low, best.low) > 0 and not wish.objective.score:
        return ratio(best, own) if wish.objective.higher_is_better else ratio(own, best)
    worse, lower = (best, own) if wish.objective.higher_is_better else (own, best)
    value = worse.value - lower.value
    below = math.hypot(worse.value - worse.low, lower.high - lower.value)
    above = math.hypot(worse.high - worse.value, lower.value - lower.low)
    return Estimate(value=value, low=value - below, high=value + above)
