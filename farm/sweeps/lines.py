"""The series of a night, from the history of its sweep. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from farm.analysis.regression import Line
from farm.types import HistoryPoint, Night, Origin, SweepSpec


class Series(NamedTuple):
    """All metrics of one variant on one device in one scenario."""

    variant: str
    device: str
    scenario: str


def series_of(point: HistoryPoint) -> Series:
    return Series(point.variant, point.device_id, point.scenario)


def lines_of(
    spec: SweepSpec, nights: Sequence[Night], points: Iterable[HistoryPoint], pinned: Iterable[HistoryPoint] = ()
) -> list[Line]:
    """A point for each of ``nights``, the oldest first. What the sweep does not ask for any longer is left out."""
    places = {night.id: place for place, night in enumerate(nights)}
    variants = {recipe.name for recipe in spec.recipes}
    scenarios = {str(scenario) for scenario in spec.scenarios}
    found: dict[Series, list[HistoryPoint | None]] = {}
    for point in points:
        place = places.get(point.night_id) if point.night_id is not None else None
        if place is not None and point.variant in variants and point.scenario in scenarios:
            found.setdefault(series_of(point), [None] * len(nights))[place] = point
    baseline = {series_of(point): point for point in pinned}
    return [
        Line(
            sweep=spec.name,
            variant=series.variant,
            device=series.device,
            scenario=series.scenario,
            points=tuple(line),
            pinned=baseline.get(series),
        )
        for series, line in sorted(found.items())
    ]


def origin_of(point: HistoryPoint, nights: Mapping[int, Night]) -> Origin:
    night = nights.get(point.night_id) if point.night_id is not None else None
    return Origin(
        job_id=point.job_id,
        run_id=point.run_id,
        night_id=point.night_id,
        version=night.version if night else "",
        model_id=point.model_id,
        build_key=point.build_key,
    )
