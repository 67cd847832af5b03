"""The report's plots as plotly figures: plain dictionaries, drawn in the browser.

Colours are names such as ``"$trusted"``; the page replaces them by those of its light or dark theme. Texts that come
from elsewhere are escaped, because plotly renders a subset of HTML in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.analysis import figures
from farm.analysis.row import Row
from farm.types import Estimate, VerdictLevel

Figure = dict[str, Any]
Samples = NDArray[np.float64]

MAX_POINTS = 600  # per variant and plot; what is left out is between points that are shown
SYMBOLS = {VerdictLevel.TRUSTED: "circle", VerdictLevel.SUSPECT: "diamond", VerdictLevel.INVALID: "x"}
_PANEL_COLUMNS = 2
_PANEL_PIXELS = 140
_LABEL_SIDES = ("middle right", "top center", "bottom center", "middle left", "top right", "bottom right", "top left")


def distribution(rows: Sequence[Row], samples: Mapping[int, Samples]) -> Figure | None:
    """Box per variant: quartiles, whiskers from the 5th to the 95th percentile, single samples beyond."""
    measured = [row for row in rows if row.outcome.job.id in samples]
    if not measured:
        return None
    traces: list[dict[str, Any]] = []
    for row in measured:
        values = np.sort(samples[row.outcome.job.id]) * 1000
        low, first, median, third, high = (short(value) for value in np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95)))
        beyond = _thinned(np.concatenate([values[values < low], values[values > high]]), MAX_POINTS // 4)
        name = name_of(row)
        colour = f"${row.status}"
        traces.append(
            {
                "type": "box",
                "orientation": "h",
                "y": [name],
                "lowerfence": [low],
                "q1": [first],
                "median": [median],
                "q3": [third],
                "upperfence": [high],
                "name": name,
                "line": {"color": colour, "width": 1.5},
                "fillcolor": colour + "-soft",
                "width": 0.55,
                "hoverinfo": "x",
            }
        )
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [short(value) for value in beyond],
                "y": [name] * len(beyond),
                "marker": {"color": colour, "size": 4, "opacity": 0.45},
                "hovertemplate": "%{x} ms<extra></extra>",
            }
        )
    drawn = layout(height=70 + 34 * len(measured))
    drawn["xaxis"] |= {"title": {"text": "latency, ms"}, "rangemode": "tozero"}
    drawn["yaxis"] |= {"autorange": "reversed", "automargin": True, "showgrid": False}
    return {"data": traces, "layout": drawn}


def against_size(rows: Sequence[Row]) -> Figure | None:
    """Median latency over artifact size."""
    points = [(row, row.artifact_bytes / 2**20) for row in rows if row.artifact_bytes]
    return _scatter(points, "artifact size, MiB", logarithmic=False)


def against_parity(rows: Sequence[Row]) -> Figure | None:
    """Median latency over the largest error, relative to the largest reference output. Exact outputs stand at the
    left edge, a decade below the smallest error, because zero has no place on a logarithmic axis."""
    errors = {id(row): error for row in rows if (error := _error_ratio(row)) is not None}
    positive = [error for error in errors.values() if error > 0]
    edge = 10 ** np.floor(np.log10(min(positive, default=1e-6)) - 1)
    points = [(row, max(errors[id(row)], float(edge))) for row in rows if id(row) in errors]
    title = "largest error ÷ largest PyTorch output (log)"
    if len(positive) < len(errors):
        title += "; left edge: identical"
    return _scatter(points, title, logarithmic=True)


def series(rows: Sequence[Row], samples: Mapping[int, Samples]) -> Figure | None:
    """A panel per variant: each sample over its median in the order taken, and the running median as a line."""
    measured = [row for row in rows if row.outcome.job.id in samples]
    if not measured:
        return None
    lines = -(-len(measured) // _PANEL_COLUMNS)
    drawn = layout(height=20 + _PANEL_PIXELS * lines)
    drawn["margin"] |= {"b": 8}
    drawn["annotations"] = []
    del drawn["xaxis"], drawn["yaxis"]
    traces: list[dict[str, Any]] = []
    for index, row in enumerate(measured):
        line, column = divmod(index, _PANEL_COLUMNS)
        axis = "" if index == 0 else str(index + 1)
        values = samples[row.outcome.job.id]
        at, ratio = np.cumsum(values), values / np.median(values)
        kept = _extremes(ratio, MAX_POINTS)
        left = column * (1 + 0.06) / _PANEL_COLUMNS
        top = 1 - line / lines
        low, high = min(0.9, float(np.quantile(ratio, 0.02))), max(1.1, float(np.quantile(ratio, 0.98)))
        drawn[f"xaxis{axis}"] = _axis() | {
            "domain": [left, left + (1 - 0.06) / _PANEL_COLUMNS],
            "anchor": f"y{axis}",
            "ticksuffix": " s",
        }
        drawn[f"yaxis{axis}"] = _axis() | {
            "domain": [top - 0.80 / lines, top - 0.15 / lines],
            "anchor": f"x{axis}",
            "range": [low - 0.03 * (high - low), high + 0.03 * (high - low)],
            "tickformat": ".2~f",
            "nticks": 4,
        }
        drawn["annotations"].append(
            {
                "text": f"<b>{name_of(row)}</b>  {escape(row.status)}",
                "font": {"color": f"${row.status}", "size": 12},
                "showarrow": False,
                "xref": "paper",
                "yref": "paper",
                "xanchor": "left",
                "yanchor": "bottom",
                "x": left,
                "y": top - 0.145 / lines,
            }
        )
        where, running = _running_median(ratio)
        for trace in (
            {
                "mode": "markers",
                "marker": {"color": "$muted", "size": 3, "opacity": 0.5},
                "x": at[kept],
                "y": ratio[kept].clip(low, high),
            },
            {"mode": "lines", "line": {"color": f"${row.status}", "width": 2}, "x": at[where], "y": running},
        ):
            numbers = {key: [short(float(value)) for value in trace[key]] for key in ("x", "y")}
            traces.append(
                {"type": "scatter", "xaxis": f"x{axis}", "yaxis": f"y{axis}", "hoverinfo": "y"} | trace | numbers
            )
    return {"data": traces, "layout": drawn}


def _scatter(points: Sequence[tuple[Row, float]], title: str, *, logarithmic: bool) -> Figure | None:
    shown = [(row, x, median) for row, x in points if (median := row.latency("p50")) is not None]
    if not shown:
        return None
    x_range = _padded([x for _, x, _ in shown], logarithmic)
    y_range = _padded([median.value * 1000 for _, _, median in shown], False)
    places = [
        ((np.log10(x) if logarithmic else x) - x_range[0], median.value * 1000 - y_range[0]) for _, x, median in shown
    ]
    sides = label_sides(
        [(x / (x_range[1] - x_range[0]), y / (y_range[1] - y_range[0])) for x, y in places],
        [row.label for row, _, _ in shown],
    )
    traces = [_point(row, x, median, side) for (row, x, median), side in zip(shown, sides, strict=True)]
    drawn = layout(height=380)
    drawn["xaxis"] |= {"title": {"text": title}, "range": x_range}
    drawn["yaxis"] |= {"title": {"text": "p50 latency, ms"}, "range": y_range}
    if logarithmic:
        drawn["xaxis"] |= {"type": "log", "exponentformat": "power", "dtick": 1}
    return {"data": traces, "layout": drawn}


def _point(row: Row, x: float, median: Estimate, side: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": [short(x)],
        "y": [short(median.value * 1000)],
        "text": [name_of(row)],
        "textposition": side,
        "textfont": {"size": 11},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [short((median.high - median.value) * 1000)],
            "arrayminus": [short((median.value - median.low) * 1000)],
            "color": f"${row.status}",
            "thickness": 1,
        },
        "marker": {"color": f"${row.status}", "size": 10, "symbol": SYMBOLS[row.level] if row.level else "circle"},
        "hovertemplate": f"{name_of(row)}<br>{figures.milliseconds(median.value)} ms, %{{x:.3~g}}<extra></extra>",
    }


def label_sides(places: Sequence[tuple[float, float]], names: Sequence[str], width: float = 460) -> Iterator[str]:
    """Where each label goes, greedily, so that it covers no marker and no label already placed.

    ``places`` are in units of the plot's width and height, taken as ``width`` by 300 pixels.
    """
    places = [(x * width / 460, y) for x, y in places]
    taken = [_box(place, "", "middle right") for place in places]
    for place, name in zip(places, names, strict=True):
        boxes = {side: _box(place, name, side) for side in _LABEL_SIDES}
        others = [
            box for box, other in zip(taken, [*places, *[(-1.0, -1.0)] * len(taken)], strict=False) if other != place
        ]
        side = min(
            boxes, key=lambda side: sum(_overlap(boxes[side], box) for box in others) + _outside(boxes[side], width)
        )
        taken.append(boxes[side])
        yield side


Box = tuple[float, float, float, float]


def _box(place: tuple[float, float], name: str, side: str) -> Box:
    """Left, bottom, right, top in pixels of a label of 11 px type next to a marker, or of the marker itself."""
    x, y = place[0] * 460, place[1] * 300
    if not name:
        return x - 6, y - 6, x + 6, y + 6
    width, vertical, horizontal = 6.2 * len(name), *side.split()
    left = {"left": x - 7 - width, "center": x - width / 2, "right": x + 7}[horizontal]
    bottom = {"bottom": y - 21, "middle": y - 7, "top": y + 7}[vertical]
    return left, bottom, left + width, bottom + 14


def _overlap(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    tall = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, tall)


def _outside(box: Box, width: float) -> float:
    return 14 * (max(0.0, -box[0]) + max(0.0, box[2] - width)) + 60 * (max(0.0, -box[1]) + max(0.0, box[3] - 300))


def _error_ratio(row: Row) -> float | None:
    parity = row.outcome.result.parity if row.outcome.result else None
    if parity is None or not np.isfinite(parity.max_abs_error) or parity.reference_abs_max <= 0:
        return None
    return parity.max_abs_error / parity.reference_abs_max


def _padded(values: Sequence[float], logarithmic: bool) -> list[float]:
    if logarithmic:
        low, high = np.log10(min(values)), np.log10(max(values))
    else:
        low, high = 0.0, max(values)
    return [float(low - 0.3 if logarithmic else 0.0), float(high + 0.18 * (high - low) + (0.3 if logarithmic else 0.0))]


def _extremes(values: Samples, most: int) -> NDArray[np.intp]:
    """Indices to draw: all, or the smallest and the largest of each of equal stretches, so that no spike is lost
    (after U. Jugel et al., "M4: a visualization-oriented time series data aggregation", VLDB 7 (2014) 797-808)."""
    if len(values) <= most:
        return np.arange(len(values))
    stretches = np.array_split(np.arange(len(values)), most // 2)
    both = [stretch[index] for stretch in stretches for index in (values[stretch].argmin(), values[stretch].argmax())]
    return np.unique(both)


def _running_median(values: Samples) -> tuple[NDArray[np.intp], Samples]:
    """Indices and the median of a thirtieth of the series, at least 9 samples, around each."""
    half = max(9, len(values) // 30) // 2
    where = np.unique(np.linspace(0, len(values) - 1, 120).astype(np.intp))
    return where, np.array([np.median(values[max(0, index - half) : index + half + 1]) for index in where])


def _thinned(values: Samples, most: int) -> Samples:
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).astype(np.intp)]


def short(value: float) -> float:
    return float(f"{value:.5g}")


def name_of(row: Row) -> str:
    return escape(figures.plain(row.label))


def _axis() -> dict[str, Any]:
    return {"tickangle": 0, "gridcolor": "$grid", "linecolor": "$grid", "zeroline": False, "ticks": ""}


def layout(height: int) -> dict[str, Any]:
    return {
        "height": height,
        "margin": {"l": 56, "r": 16, "t": 12, "b": 48},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "$text", "family": "system-ui, sans-serif", "size": 12},
        "showlegend": False,
        "hovermode": "closest",
        "xaxis": _axis(),
        "yaxis": _axis(),
    }
