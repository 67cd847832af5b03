"""The answer to "which variant to ship where", for people and machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from farm.analysis import figures
from farm.analysis.contender import Contender, Wish
from farm.analysis.figures import MISSING
from farm.analysis.grid import Grid
from farm.analysis.notebook import Shown
from farm.analysis.place import By, Everywhere, Place, everywhere, places
from farm.analysis.sheet import Line, Mark, Sheet
from farm.analysis.wording import both, interval, listed, title, written


@dataclass(frozen=True)
class Shipping(Shown):
    """``places``: real ones first. ``everywhere``: of all real devices (of the virtual ones where there are no others);
    None where there is one device only."""

    wish: Wish
    scenario: str
    by: By
    places: tuple[Place, ...]
    everywhere: Everywhere | None

    @property
    def complete(self) -> bool:
        """Whether there is a variant for every place."""
        return all(place.chosen for place in self.places)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "objective": self.wish.objective.name,
            "constraints": [str(constraint) for constraint in self.wish.constraints],
            "trusted_only": self.wish.trusted_only,
            "scenario": self.scenario,
            "by": self.by,
            "complete": self.complete,
            "places": [place.to_dict() for place in self.places],
            "everywhere": self.everywhere.to_dict() if self.everywhere else None,
        }

    def records(self) -> list[dict[str, Any]]:
        """A line per place."""
        objective = self.wish.objective.name
        costs = self.everywhere.costs if self.everywhere else {}
        records = []
        for place in self.places:
            figure = place.chosen.figure if place.chosen else None
            cost = costs.get(place.devices[0]) if len(place.devices) == 1 else None
            records.append(
                {
                    "place": place.name,
                    "virtual": place.virtual,
                    "devices": len(place.devices),
                    "variant": place.chosen.variant if place.chosen else None,
                    objective: figure.value if figure else None,
                    f"{objective}_low": figure.low if figure else None,
                    f"{objective}_high": figure.high if figure else None,
                    "rivals": ", ".join(rival.variant for rival in place.rivals),
                    "binding": ", ".join(map(str, place.binding)),
                    "nearest": place.nearest.variant if place.nearest else None,
                    "cost_of_one_for_all": cost.value if cost else None,
                }
            )
        return records

    def drawing(self) -> dict[str, Any] | None:
        from farm.report.overview import costs, shipped

        return costs(self) or shipped(self)

    def sheets(self) -> tuple[Sheet, ...]:
        sheets = []
        for virtual in (False, True):
            if found := [place for place in self.places if place.virtual is virtual]:
                sheets.append(self._where(found, virtual))
        if self.everywhere:
            sheets.append(self._one(self.everywhere))
        return tuple(sheets)

    def _where(self, found: Sequence[Place], virtual: bool) -> Sheet:
        objective = self.wish.objective
        lines = []
        for place in found:
            chosen = place.chosen
            several = f"{len(place.devices)} devices" if len(place.devices) > 1 else ""
            if chosen is None or chosen.figure is None:
                lines.append(Line(((place.name, several), ("nothing", ""), (MISSING, "")), "invalid"))
                continue
            rivals = f"or {listed([rival.variant for rival in place.rivals], 2)}" if place.rivals else ""
            figure = written(objective, chosen.figure.value), interval(objective, chosen.figure)
            variant = f"{chosen.variant} (suspect)" if chosen.suspect else chosen.variant
            mark: Mark = "suspect" if chosen.suspect else "trusted"
            lines.append(Line(((place.name, several), (variant, rivals), figure), mark))
        heads = ((self.by.replace("_", " ") if self.by != "all" else "where", ""), ("ship", "or, as good"))
        name = f"Ship for {self.wish}, {self.scenario}"
        headings = (*heads, (title(objective), "interval"))
        return Sheet(name, headings, tuple(lines), notes=tuple(self._notes(found)), left=2, virtual=virtual)

    def _notes(self, found: Sequence[Place]) -> list[str]:
        """What holds for several places is told once."""
        told: dict[str, list[str]] = {}
        for place in found:
            for text in why_nothing(place) if place.chosen is None else binding(place):
                told.setdefault(text, []).append(place.name)
        return [f"{listed(names, 4)}: {text}" for text, names in told.items()]

    def _one(self, found: Everywhere) -> Sheet:
        place, objective = found.place, self.wish.objective
        chosen = place.chosen
        if chosen is None or chosen.figure is None:
            notes = why_nothing(place)
            if found.most:
                able = len(place.devices) - len(found.missing)
                notes.append(
                    f"{found.most} may be shipped to {able} of {len(place.devices)} devices, "
                    f"not to {listed(found.missing, 4)}."
                )
            none = f"No variant for all {len(place.devices)} devices."
            return Sheet("One variant everywhere", said=(none,), notes=tuple(notes), virtual=place.virtual)
        lines = []
        for device, cost in sorted(found.costs.items(), key=lambda item: -item[1].value):
            best = cost.low == cost.high == (0 if objective.score else 1)
            figure = figures.change(cost.value) if objective.score else figures.times(cost.value)
            between = figures.change_interval(cost) if objective.score else figures.times_interval(cost)
            lines.append(Line(((device, ""), (figure, "the best there" if best else between))))
        said = (
            f"{chosen.variant}: {title(objective)} {both(objective, chosen.figure)} over {len(place.devices)} devices."
        )
        worse = "lower by" if objective.score else "slower" if objective.unit == "seconds" else "worse"
        headings = (("device", ""), (f"times {worse}" if not objective.score else worse, "than the best there"))
        return Sheet(
            "One variant everywhere",
            headings,
            tuple(lines),
            said=(said,),
            notes=tuple(binding(place)),
            virtual=place.virtual,
        )


def ship(grids: Sequence[Grid], wish: Wish, by: By) -> Shipping:
    """``grids``: real devices first, at least one."""
    found = tuple(place for grid in grids for place in places(grid, by, wish))
    first = grids[0]
    return Shipping(wish, first.scenario, by, found, everywhere(first, wish) if len(first.devices) > 1 else None)


def binding(place: Place) -> list[str]:
    """Which constraints cost something."""
    return [
        f"without {constraint}, {listed(variants, 3)} would be better."
        for constraint, variants in place.binding.items()
    ]


def why_nothing(place: Place) -> list[str]:
    if place.nearest is None:
        return [f"no variant has a result to go by: {listed(_unfit(place.contenders), 4)}."]
    nearest = "; ".join(map(str, place.nearest.breaches))
    return [f"no variant keeps every constraint; the nearest is {place.nearest.variant}: {nearest}."]


def _unfit(contenders: Sequence[Contender]) -> list[str]:
    return [f"{one.variant} {one.unfit}" for one in contenders]
