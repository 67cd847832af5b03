"""Which variants nothing beats in all of several metrics, on one device or over many. Pure.

A variant is beaten by another that is certainly better in one metric at least and certainly worse in none. *Certainly*:
the interval of the ratio of the two figures leaves out 1. Where figures cannot be told apart they are tied, so noise
neither puts a variant on the front nor takes it off. A suspect result beats no trusted one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from farm.analysis.front import dominates, front
from farm.analysis.grid import Grid, doubt, pair
from farm.analysis.notebook import Shown
from farm.analysis.order import clearly_better, cost
from farm.analysis.overall import overall
from farm.analysis.quantities import Quantity
from farm.analysis.row import Row
from farm.analysis.sheet import Line, Mark, Sheet
from farm.analysis.wording import interval, listed, title, written
from farm.errors import NotFoundError, UserError
from farm.types import Estimate, VerdictLevel

FEWEST, MOST = 2, 5  # metrics


@dataclass(frozen=True)
class Point:
    """``figures``: one per metric. ``beaten_by``: variants, the best by the first metric first."""

    variant: str
    figures: tuple[Estimate, ...]
    level: VerdictLevel
    on_front: bool = True
    beaten_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pareto(Shown):
    """``points``: those on the front first, in each part the best by the first metric first."""

    metrics: tuple[Quantity, ...]
    scenario: str
    virtual: bool
    devices: tuple[str, ...]
    points: tuple[Point, ...]
    left_variants: Mapping[str, str]
    left_devices: Mapping[str, str]

    @property
    def front(self) -> tuple[Point, ...]:
        return tuple(point for point in self.points if point.on_front)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "metrics": [metric.name for metric in self.metrics],
            "scenario": self.scenario,
            "virtual": self.virtual,
            "devices": list(self.devices),
            "points": [
                {
                    "variant": point.variant,
                    "verdict": str(point.level),
                    "on_front": point.on_front,
                    "beaten_by": list(point.beaten_by),
                    "figures": {
                        metric.name: figure.model_dump()
                        for metric, figure in zip(self.metrics, point.figures, strict=True)
                    },
                }
                for point in self.points
            ],
            "variants_left_out": dict(self.left_variants),
            "devices_left_out": dict(self.left_devices),
        }

    def records(self) -> list[dict[str, Any]]:
        records = []
        for point in self.points:
            record: dict[str, Any] = {"variant": point.variant, "on_front": point.on_front, "verdict": point.level}
            for metric, figure in zip(self.metrics, point.figures, strict=True):
                record |= {
                    metric.name: figure.value,
                    f"{metric.name}_low": figure.low,
                    f"{metric.name}_high": figure.high,
                }
            records.append(record | {"beaten_by": ", ".join(point.beaten_by)})
        return records

    def drawing(self) -> dict[str, Any] | None:
        from farm.report.overview import front_panels

        return front_panels(self)

    def sheets(self) -> tuple[Sheet, ...]:
        many = len(self.devices) > 1
        headings = (
            ("variant", ""),
            *((title(metric), "higher is better" if metric.higher_is_better else "") for metric in self.metrics),
        )
        lines = []
        for point in self.points:
            suspect = point.level is VerdictLevel.SUSPECT
            if point.on_front:
                remark = "front, suspect" if suspect else "front"
            else:
                remark = f"beaten by {listed(point.beaten_by, 1)}"
            cells = [
                (written(metric, figure.value), interval(metric, figure))
                for metric, figure in zip(self.metrics, point.figures, strict=True)
            ]
            mark: Mark = ("suspect" if suspect else "trusted") if point.on_front else "dim"
            lines.append(Line(((point.variant, remark), *cells), mark))
        notes = []
        if many:
            worst = [title(metric) for metric in self.metrics if metric.score]
            notes.append(
                f"Geometric means over {len(self.devices)} devices"
                + (f"; of {listed(worst)} the worst device's." if worst else ".")
            )
        notes.append("Beaten: certainly worse than another in one metric at least, and certainly better in none.")
        notes += [f"Left out: variant {name}, {why}." for name, why in self.left_variants.items()]
        notes += [f"Left out: device {name}: {why}." for name, why in self.left_devices.items()]
        where = f"{len(self.devices)} devices" if many else listed(self.devices) or "no device"
        name = f"Pareto front on {where}, {self.scenario}"
        return (Sheet(name, headings, tuple(lines), notes=tuple(notes), virtual=self.virtual),)


def check(metrics: Sequence[Quantity]) -> None:
    """Raises UserError where there is no front of these."""
    names = [metric.name for metric in metrics]
    if not FEWEST <= len(set(names)) == len(names) <= MOST:
        raise UserError(
            f"There is no Pareto front of {', '.join(names) or 'no metric'}.",
            remedy=f'Name {FEWEST} to {MOST} different metrics, e.g. "latency_p50", "artifact_size".',
        )


def pareto_front(
    grid: Grid,
    metrics: Sequence[Quantity],
    *,
    device: str | None = None,
    variants: Sequence[str] | None = None,
    trusted_only: bool = False,
) -> Pareto:
    """On ``device``, or over all on which every compared variant has all figures; one figure of each there is made by
    ``overall``. Invalid results never count. Raises UserError, NotFoundError."""
    check(metrics)
    if device is not None:
        if device not in grid.devices:
            raise NotFoundError(f"No results of {device} here.", remedy=f"Take one of {listed(list(grid.devices))}.")
        there = {name: {device: line[device]} for name, line in grid.rows.items() if device in line}
        grid = Grid(grid.scenario, grid.virtual, there, {device: grid.devices[device]})

    def why(variant: str, where: str) -> str:
        row = grid.row(variant, where)
        doubts = (doubt(row, metric, trusted_only=trusted_only) for metric in metrics)
        return ", ".join(dict.fromkeys(filter(None, doubts)))

    pairing = pair(grid, why, variants)
    points = [
        _point(variant, [grid.rows[variant][where] for where in pairing.devices], metrics)
        for variant in (pairing.variants if pairing.devices else ())
    ]
    points.sort(key=lambda point: (cost(metrics[0], point.figures[0]), point.variant))
    better = [partial(clearly_better, metric) for metric in metrics]
    beats = [[_beats(one, other, better) for other in points] for one in points]
    kept = set(front(beats))
    placed = [
        Point(
            point.variant,
            point.figures,
            point.level,
            index in kept,
            ()
            if index in kept
            else tuple(other.variant for number, other in enumerate(points) if beats[number][index]),
        )
        for index, point in enumerate(points)
    ]
    placed.sort(key=lambda point: not point.on_front)
    return Pareto(
        tuple(metrics),
        grid.scenario,
        grid.virtual,
        pairing.devices,
        tuple(placed),
        pairing.left_variants,
        pairing.left_devices,
    )


def _beats(one: Point, other: Point, better: Sequence[Any]) -> bool:
    trusted = one.level is VerdictLevel.TRUSTED or other.level is VerdictLevel.SUSPECT
    return trusted and dominates(one.figures, other.figures, better)


def _point(variant: str, rows: Sequence[Row], metrics: Sequence[Quantity]) -> Point:
    trusted = all(row.level is VerdictLevel.TRUSTED for row in rows)
    figures = tuple(overall(metric, [figure for row in rows if (figure := row.figure(metric))]) for metric in metrics)
    return Point(variant, figures, VerdictLevel.TRUSTED if trusted else VerdictLevel.SUSPECT)
