"""The plot of what operators cost, as a plotly figure; see ``farm.report.plots`` for how the page draws it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from farm.analysis import figures
from farm.analysis.profile import OperatorProfile

Figure = dict[str, Any]

TYPES = 7  # that have a colour of their own; the rest is one bar
# Okabe and Ito's colours, which stay apart for the colour-blind, on light and dark pages.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C7A00")
_REST = "$muted"


def bars(variants: Sequence[tuple[str, OperatorProfile]]) -> Figure | None:
    """One bar per variant, stacked of the types of operators that cost most over all variants."""
    if not variants:
        return None
    totals: dict[str, float] = {}
    for _, profile in variants:
        for line in profile.types:
            totals[line.type] = totals.get(line.type, 0.0) + line.seconds
    named = sorted(totals, key=lambda kind: -totals[kind])[:TYPES]
    labels = [escape(figures.plain(label)) for label, _ in variants]
    traces: list[Figure] = []
    for colour, kind in zip((*COLOURS, _REST), (*named, None), strict=False):
        values = [_milliseconds(profile, kind, named) for _, profile in variants]
        if any(values):
            traces.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": escape(figures.plain(kind)) if kind else "all others",
                    "x": values,
                    "y": labels,
                    "marker": {"color": colour},
                    "hovertemplate": "%{x:.3~g} ms %{fullData.name}<extra></extra>",
                }
            )
    traces.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "median",
            "x": [profile.median_seconds * 1000 for _, profile in variants],
            "y": labels,
            "marker": {"symbol": "line-ns-open", "size": 16, "color": "$text", "line": {"width": 2}},
            "hovertemplate": "%{x:.3~g} ms median<extra></extra>",
        }
    )
    axis = {"gridcolor": "$grid", "zeroline": False, "linecolor": "$grid"}
    layout = {
        "height": 90 + 34 * len(variants),
        "margin": {"l": 8, "r": 16, "t": 30, "b": 40},
        "barmode": "stack",
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "$text", "size": 12},
        "xaxis": {**axis, "title": {"text": "per inference, ms"}, "rangemode": "tozero"},
        "yaxis": {**axis, "autorange": "reversed", "automargin": True, "showgrid": False},
    }
    return {"data": traces, "layout": layout}


def _milliseconds(profile: OperatorProfile, kind: str | None, named: Sequence[str]) -> float:
    """Of a type, or of all that have no name of their own."""
    lines = profile.types
    return 1000 * sum(line.seconds for line in lines if (line.type == kind if kind else line.type not in named))
