"""Plots of single figures with their intervals, as in ``farm.report.plots``."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from farm.analysis import figures
from farm.analysis.quantities import Quantity
from farm.analysis.row import Row
from farm.analysis.wording import both, scale, title
from farm.report.plots import SYMBOLS, Figure, layout, name_of, short
from farm.types import Estimate

if TYPE_CHECKING:
    from farm.tuning.outcome import Tuning

_LOGARITHMIC_FROM = 8.0  # times between the smallest and the largest


def values(rows: Sequence[Row], metric: Quantity) -> Figure | None:
    """One metric of each row with its interval; a group per setting."""
    shown = [(row, figure) for row in rows if (figure := row.figure(metric))]
    if not shown:
        return None
    several = len({row.setting for row, _ in shown}) > 1
    traces = []
    for row, figure in shown:
        place = f"{row.setting.device} {row.setting.scenario}{' (virtual)' if row.setting.virtual else ''}"
        trace = dots([name_of(row)], [in_units(metric, figure)], f"${row.status}")
        trace["marker"]["symbol"] = SYMBOLS[row.level] if row.level else "circle"
        if several:
            trace["y"] = [[escape(figures.plain(place))], [name_of(row)]]
        trace["hovertemplate"] = f"{name_of(row)} on {escape(place)}<br>{both(metric, figure)}<extra></extra>"
        traces.append(trace)
    drawn = layout(height=84 + 24 * len(shown))
    drawn["xaxis"] |= {"title": {"text": axis_title(metric)}}
    drawn["xaxis"] |= axis_range([scaled(metric, figure.value) for _, figure in shown])
    drawn["yaxis"] |= {"automargin": True, "showgrid": False, "autorange": "reversed"}
    return {"data": traces, "layout": drawn}


def quantiles(row: Row) -> Figure | None:
    """The latency quantiles of one row."""
    found = [(name, figure) for name in ("p50", "p90", "p95", "p99") if (figure := row.latency(name))]
    if not found:
        return None
    trace = dots(
        [name for name, _ in found],
        [Estimate(value=f.value * 1e3, low=f.low * 1e3, high=f.high * 1e3) for _, f in found],
        f"${row.status}",
    )
    drawn = layout(height=84 + 26 * len(found))
    drawn["xaxis"] |= {"title": {"text": f"latency of {name_of(row)}, ms"}}
    drawn["yaxis"] |= {"automargin": True, "showgrid": False, "autorange": "reversed"}
    return {"data": [trace], "layout": drawn}


def candidates(found: Tuning) -> Figure | None:
    """What a search tried: its first two metrics against each other, the front filled."""
    metrics = found.goal.metrics
    other = metrics[1] if len(metrics) > 1 else None
    winners = {id(candidate) for candidate in found.front}
    traces: list[Figure] = []
    for number, candidate in enumerate(found.candidates):
        y = candidate.figures.get(metrics[0])
        x = candidate.figures.get(other) if other else float(number + 1)
        if x is None or y is None:
            continue
        best = id(candidate) in winners
        name = escape(figures.plain(candidate.recipe.name))
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [short(x)],
                "y": [short(y)],
                "marker": {
                    "color": "$trusted" if best else "$muted",
                    "size": 11 if best else 8,
                    "symbol": "circle" if candidate.full else "circle-open",
                },
                "hovertemplate": f"{name}, {candidate.threads} threads<br>{escape(metrics[0])} %{{y}}<br>"
                f"{escape(other or 'candidate')} %{{x}}<br>{escape(figures.plain(candidate.why))}<extra></extra>",
            }
        )
    if not traces:
        return None
    drawn = layout(height=400)
    drawn["xaxis"] |= {"title": {"text": escape(other or "candidate")}, "rangemode": "tozero"}
    drawn["yaxis"] |= {"title": {"text": escape(metrics[0])}, "rangemode": "tozero", "automargin": True}
    return {"data": traces, "layout": drawn}


def dots(names: Sequence[str], values: Sequence[Estimate], colour: str) -> Figure:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [short(value.value) for value in values],
        "y": list(names),
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [short(value.high - value.value) for value in values],
            "arrayminus": [short(value.value - value.low) for value in values],
            "color": colour,
            "thickness": 1.5,
        },
        "marker": {"color": colour, "size": 9},
        "hovertemplate": "%{y}<br>%{x:.4~g}<extra></extra>",
    }


def in_units(metric: Quantity, figure: Estimate) -> Estimate:
    factor, _ = scale(metric)
    return Estimate(value=figure.value * factor, low=figure.low * factor, high=figure.high * factor)


def scaled(metric: Quantity, value: float) -> float:
    return value * scale(metric)[0]


def axis_title(metric: Quantity) -> str:
    unit = scale(metric)[1]
    return title(metric) + (f", {unit}" if unit else "") + (" (higher is better)" if metric.higher_is_better else "")


def axis_range(ends: Sequence[float], linear: bool = False) -> Figure:
    """Logarithmic where the values lie far apart."""
    positive = [end for end in ends if end > 0]
    if not linear and len(positive) == len(ends) and max(ends) > _LOGARITHMIC_FROM * min(ends):
        return {"type": "log", "dtick": "D2", "exponentformat": "none"}
    return {"rangemode": "tozero"}
