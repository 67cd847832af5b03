"""What a comparison of several devices says at a glance: the means over them, and the Pareto front. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from farm.analysis.across import Across, across_devices
from farm.analysis.grid import Grid, grids, models
from farm.analysis.pareto import Pareto, pareto_front
from farm.analysis.quantities import Quantity, compared
from farm.analysis.row import Row

LEADING = "latency_p50"


@dataclass(frozen=True)
class Overview:
    """Of one scenario, over real devices or over virtual ones. ``means``: of the latency, and of the energy where it
    was measured."""

    means: tuple[Across, ...]
    front: Pareto


def overviews(rows: Iterable[Row]) -> tuple[Overview, ...]:
    """One per scenario that several devices have; none where the runs are of different models."""
    everything = list(rows)
    if len(models(everything)) > 1:
        return ()
    scenarios = dict.fromkeys(row.setting.scenario for row in everything)
    return tuple(
        _overview(grid)
        for scenario in scenarios
        for grid in grids([row for row in everything if row.setting.scenario == scenario])
        if len(grid.devices) > 1
    )


def front_of(rows: Iterable[Row]) -> Pareto | None:
    """The front of one setting; None where fewer than two variants have the figures, or the models differ."""
    everything = list(rows)
    if len(models(everything)) > 1:
        return None
    (grid,) = grids(everything)
    found = pareto_front(grid, leading(everything))
    return found if len(found.points) > 1 else None


def leading(rows: Iterable[Row]) -> tuple[Quantity, ...]:
    """The metrics that most people weigh against each other, as far as they were measured."""
    measured = list(rows)

    def has(name: str) -> bool:
        return any(row.figure(compared(name)) for row in measured)

    quality = next((name for name in ("drop", "score") if has(name)), "parity_cosine")  # the drop has an interval
    names = [LEADING, "artifact_size", quality]
    return tuple(compared(name) for name in (*names, *(["energy"] if has("energy") else [])))


def _overview(grid: Grid) -> Overview:
    rows = [row for line in grid.rows.values() for row in line.values()]
    metrics = leading(rows)
    means = [across_devices(grid, compared(LEADING))]
    if any(metric.name == "energy" for metric in metrics):
        means.append(across_devices(grid, compared("energy")))
    return Overview(tuple(means), pareto_front(grid, metrics))
