"""Plots of what holds over devices and of fronts, as in ``farm.report.plots``."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from farm.analysis import figures
from farm.analysis.across import Across
from farm.analysis.pareto import Pareto, Point
from farm.analysis.quantities import Quantity
from farm.analysis.shipping import Shipping
from farm.analysis.wording import both, title
from farm.report.dots import axis_range, axis_title, dots, in_units, scaled
from farm.report.plots import SYMBOLS, Figure, label_sides, layout, short
from farm.types import Estimate

_ROW_PIXELS = 30
_GAP = 0.09  # between panels, of the width


def forest(found: Across) -> Figure | None:
    """A line per variant: the mean on these devices thick, on devices like these thin, single devices as dots."""
    if not found.means:
        return None
    traces: list[Figure] = []
    for mean in found.means:
        colour = "$suspect" if mean.suspect else "$trusted"
        name = escape(figures.plain(mean.variant))
        ratios = list(mean.by_device.values())
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [short(ratio.value) for ratio in ratios],
                "y": [name] * len(ratios),
                "text": [escape(figures.plain(device)) for device in mean.by_device],
                "marker": {"color": "$muted", "size": 5, "opacity": 0.55},
                "hovertemplate": f"{name} on %{{text}}<br>%{{x:.3~g}}×<extra></extra>",
            }
        )
        for interval, width in ((mean.like_these, 1.5), (mean.here, 5)):
            if interval:
                traces.append(
                    {
                        "type": "scatter",
                        "mode": "lines",
                        "x": [short(interval.low), short(interval.high)],
                        "y": [name, name],
                        "line": {"color": colour, "width": width},
                        "hoverinfo": "skip",
                    }
                )
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [short(mean.here.value)],
                "y": [name],
                "marker": {"color": colour, "size": 11, "symbol": "diamond" if mean.suspect else "circle"},
                "hovertemplate": f"{name}<br>{figures.times(mean.here.value)} "
                f"({figures.times_interval(mean.here)})<extra></extra>",
            }
        )
    ends = [end for mean in found.means for ratio in mean.by_device.values() for end in (ratio.low, ratio.high)]
    drawn = layout(height=84 + _ROW_PIXELS * len(found.means))
    drawn["xaxis"] |= {"title": {"text": f"times better than {escape(found.baseline)}: {title(found.metric)}"}}
    drawn["xaxis"] |= axis_range([*ends, 1.0])
    drawn["yaxis"] |= {"autorange": "reversed", "automargin": True, "showgrid": False}
    drawn["shapes"] = [_line(1.0)]
    return {"data": traces, "layout": drawn}


def front_panels(found: Pareto) -> Figure | None:
    """The first metric against each of the others, a panel each."""
    if not found.points:
        return None
    others = len(found.metrics) - 1
    drawn = layout(height=400)
    del drawn["xaxis"], drawn["yaxis"]
    width = (1 - _GAP * (others - 1)) / others
    traces: list[Figure] = []
    for index in range(1, others + 1):
        axis = "" if index == 1 else str(index)
        left = (index - 1) * (width + _GAP)
        base = layout(height=400)
        x, y = found.metrics[index], found.metrics[0]
        values = [point.figures[index] for point in found.points]
        drawn[f"xaxis{axis}"] = base["xaxis"] | {
            "title": {"text": axis_title(x)},
            "domain": [left, left + width],
            "anchor": f"y{axis}",
            "nticks": 5,
        }
        if x.name == "parity_cosine":
            drawn[f"xaxis{axis}"] |= {"tickformat": ".5~f"}
        drawn[f"xaxis{axis}"] |= _padded([scaled(x, figure.value) for figure in values], zero=not x.score)
        drawn[f"yaxis{axis}"] = base["yaxis"] | {"anchor": f"x{axis}"}
        drawn[f"yaxis{axis}"] |= _padded([scaled(y, point.figures[0].value) for point in found.points])
        if index == 1:
            drawn["yaxis"] |= {"title": {"text": axis_title(y)}}
        if others == 1:
            traces.append(_edge(found))
        traces += _panel(found, index, axis, drawn, 1 / others)
    return {"data": traces, "layout": drawn}


def _panel(found: Pareto, index: int, axis: str, drawn: Figure, share: float) -> list[Figure]:
    """The points of one panel; names stand at those of the front only."""
    x, y = found.metrics[index], found.metrics[0]
    x_low, x_high = drawn[f"xaxis{axis}"]["range"]
    y_low, y_high = drawn[f"yaxis{axis}"]["range"]
    front = found.front
    places = [
        (
            (scaled(x, point.figures[index].value) - x_low) / (x_high - x_low),
            (scaled(y, point.figures[0].value) - y_low) / (y_high - y_low),
        )
        for point in front
    ]
    sides = label_sides(places, [point.variant for point in front], width=1000 * share)
    named = dict(zip((point.variant for point in front), sides, strict=True))
    return [_point(found, point, index, axis, named.get(point.variant)) for point in found.points]


def _point(found: Pareto, point: Point, index: int, axis: str, side: str | None) -> Figure:
    x, y = found.metrics[index], found.metrics[0]
    name = escape(figures.plain(point.variant))
    colour = f"${point.level}" if point.on_front else "$muted"
    told = "<br>".join(
        f"{title(metric)} {both(metric, figure)}" for metric, figure in zip(found.metrics, point.figures, strict=True)
    )
    beaten = f"<br>beaten by {escape(figures.plain(', '.join(point.beaten_by)))}" if point.beaten_by else ""
    return {
        "type": "scatter",
        "mode": "markers+text" if side else "markers",
        "xaxis": f"x{axis}",
        "yaxis": f"y{axis}",
        "x": [short(scaled(x, point.figures[index].value))]
        if x.name != "parity_cosine"
        else [point.figures[index].value],
        "y": [short(scaled(y, point.figures[0].value))],
        "text": [name],
        "textposition": side or "middle right",
        "textfont": {"size": 11},
        "cliponaxis": False,
        "error_x": _bars(x, point.figures[index], colour),
        "error_y": _bars(y, point.figures[0], colour),
        "marker": {
            "color": colour,
            "size": 11 if point.on_front else 8,
            "opacity": 1 if point.on_front else 0.7,
            "symbol": SYMBOLS[point.level] + ("" if point.on_front else "-open"),
        },
        "hovertemplate": f"{name}<br>{told}{beaten}<extra></extra>",
    }


def _edge(found: Pareto) -> Figure:
    """The staircase through the front of two metrics."""
    points = sorted(found.front, key=lambda point: point.figures[1].value)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [short(scaled(found.metrics[1], point.figures[1].value)) for point in points],
        "y": [short(scaled(found.metrics[0], point.figures[0].value)) for point in points],
        "line": {"color": "$trusted", "width": 1, "dash": "dot"},
        "hoverinfo": "skip",
    }


def costs(found: Shipping) -> Figure | None:
    """What one variant for all devices costs on each."""
    one = found.everywhere
    if one is None or not one.costs or one.place.chosen is None:
        return None
    devices = sorted(one.costs, key=lambda device: one.costs[device].value)
    values = [one.costs[device] for device in devices]
    score = found.wish.objective.score
    drawn = layout(height=84 + 26 * len(devices))
    what = "lower than the best there" if score else "times the best there"
    name = escape(figures.plain(one.place.chosen.variant))
    drawn["xaxis"] |= {"title": {"text": f"{title(found.wish.objective)} of {name}, {what}"}}
    ends = [end for value in values for end in (value.low, value.high)]
    drawn["xaxis"] |= {"range": [min(ends) - 0.05 * max(ends), max(ends) * 1.05]} if not score else {}
    drawn["yaxis"] |= {"automargin": True, "showgrid": False}
    drawn["shapes"] = [_line(0.0 if score else 1.0)]
    trace = dots([escape(figures.plain(device)) for device in devices], values, "$accent")
    return {"data": [trace], "layout": drawn}


def shipped(found: Shipping) -> Figure | None:
    """The objective of what is shipped in each place."""
    chosen = [(place, place.chosen) for place in found.places if place.chosen and place.chosen.figure]
    if not chosen:
        return None
    metric = found.wish.objective
    names = [f"{escape(figures.plain(place.name))}: {escape(figures.plain(one.variant))}" for place, one in chosen]
    values = [in_units(metric, one.figure) for _, one in chosen if one.figure]
    drawn = layout(height=84 + 26 * len(names))
    drawn["xaxis"] |= {"title": {"text": axis_title(metric)}} | axis_range(
        [value.high for value in values], linear=True
    )
    drawn["yaxis"] |= {"automargin": True, "showgrid": False, "autorange": "reversed"}
    return {"data": [dots(names, values, "$trusted")], "layout": drawn}


def _bars(metric: Quantity, figure: Estimate, colour: str) -> Figure:
    value = in_units(metric, figure)
    return {
        "type": "data",
        "symmetric": False,
        "array": [short(value.high - value.value)],
        "arrayminus": [short(value.value - value.low)],
        "color": colour,
        "thickness": 1,
        "width": 0,
    }


def _padded(values: Sequence[float], zero: bool = True) -> Figure:
    """With room for names."""
    low, high = min(values), max(values)
    span = (high - (0 if zero else low)) or abs(high) or 1.0
    return {"range": [0.0 if zero and low >= 0 else low - 0.15 * span, high + 0.22 * span]}


def _line(at: float) -> Figure:
    return {
        "type": "line",
        "x0": at,
        "x1": at,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"color": "$muted", "width": 1, "dash": "dash"},
    }
