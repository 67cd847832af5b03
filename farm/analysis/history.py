"""One variant on one device over time: what the client gives and ``farm history`` prints. Light, as comparisons are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from farm.analysis.quantities import quantity
from farm.errors import UserError
from farm.types import Estimate, HistoryPoint, MissingNight

if TYPE_CHECKING:
    import pandas
    from plotly.graph_objects import Figure


@dataclass(frozen=True)
class Step:
    """A point with one figure of it. ``change``: the figure over the one before (scores: minus), None for the first;
    ``same_artifact``: both were measured with the same files, so that the change is no change of the model."""

    point: HistoryPoint
    figure: Estimate
    change: float | None
    same_artifact: bool


@dataclass(frozen=True)
class History:
    """``points``: the oldest first. ``missing``: nights without a result."""

    model: str
    variant: str
    device: str
    points: tuple[HistoryPoint, ...]
    missing: tuple[MissingNight, ...]

    def __len__(self) -> int:
        return len(self.points)

    def __repr__(self) -> str:
        gaps = f", {len(self.missing)} nights missing" if self.missing else ""
        return f"<history of {self.variant} of {self.model} on {self.device}: {len(self)} results{gaps}>"

    def metrics(self) -> tuple[str, ...]:
        """Those that some result has."""
        return tuple(dict.fromkeys(name for point in self.points for name in point.figures))

    def steps(self, metric: str = "latency_p50") -> dict[str, list[Step]]:
        """By scenario; results without the figure are left out. Raises UserError for an unknown metric."""
        score = quantity(metric).score
        found: dict[str, list[Step]] = {}
        for point in self.points:
            if (figure := point.figures.get(metric)) is None:
                continue
            series = found.setdefault(point.scenario, [])
            before = series[-1] if series else None
            change = _change(before.figure.value, figure.value, score) if before else None
            same = before is not None and before.point.build_key == point.build_key
            series.append(Step(point, figure, change, same))
        return found

    def to_pandas(self) -> pandas.DataFrame:
        """One row per result, figures in their units, with ``_low`` and ``_high`` where they have an interval. Raises
        UserError without pandas."""
        try:
            import pandas
        except ImportError as error:
            raise UserError("pandas is not installed.", remedy="pip install 'torchfarm[pandas]'") from error
        return pandas.DataFrame.from_records([_record(point) for point in self.points])

    def plot(self, metric: str = "latency_p50") -> Figure:
        """A line per scenario with intervals; hollow is not trusted, a cross a missing night."""
        from plotly.graph_objects import Figure, Scatter

        chosen, mark = quantity(metric), " (virtual)" if any(point.virtual for point in self.points) else ""
        figure = Figure()
        low = min((step.figure.value for steps in self.steps(metric).values() for step in steps), default=0.0)
        for scenario, steps in self.steps(metric).items():
            values = [step.figure for step in steps]
            figure.add_trace(
                Scatter(
                    x=[step.point.measured_at for step in steps],
                    y=[value.value for value in values],
                    error_y={
                        "array": [value.high - value.value for value in values],
                        "arrayminus": [value.value - value.low for value in values],
                    },
                    mode="lines+markers",
                    marker={"symbol": ["circle" if step.point.trusted else "circle-open" for step in steps]},
                    name=scenario,
                    text=[f"run {step.point.run_id}, {step.point.verdict}" for step in steps],
                )
            )
        if self.missing:
            figure.add_trace(
                Scatter(
                    x=[night.due_at for night in self.missing],
                    y=[low] * len(self.missing),
                    mode="markers",
                    marker={"symbol": "x", "color": "crimson"},
                    name="missing",
                    text=[night.reason for night in self.missing],
                )
            )
        figure.update_layout(
            title=f"{metric} of {self.variant} of {self.model} on {self.device}{mark}",
            yaxis_title=chosen.unit,
            showlegend=True,
        )
        return figure


def history(
    model: str, variant: str, device: str, points: Sequence[HistoryPoint], missing: Sequence[MissingNight]
) -> History:
    in_order = sorted(points, key=lambda point: (point.measured_at, point.job_id))
    return History(model, variant, device, tuple(in_order), tuple(missing))


def _change(before: float, now: float, score: bool) -> float | None:
    if score:
        return now - before
    return now / before if before else None


def _record(point: HistoryPoint) -> dict[str, object]:
    record: dict[str, object] = point.model_dump(exclude={"figures", "reasons"})
    record["reasons"] = ", ".join(point.reasons)
    for name, figure in point.figures.items():
        record[name] = figure.value
        if not figure.low == figure.value == figure.high:
            record |= {f"{name}_low": figure.low, f"{name}_high": figure.high}
    return record
