"""What the report shows of a labelled set: plots of ROC curves and of drops, as in ``farm.report.plots``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from farm.analysis import figures
from farm.analysis.row import Row
from farm.report.plots import Figure, layout, name_of, short

_GRID = np.linspace(0, 1, 101)
# Lines that cross cannot be told apart by their verdict's colour alone.
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def roc(rows: Sequence[Row]) -> Figure | None:
    """A curve per variant; of more than two classes the mean of each class against the others."""
    shown = [(row, row.evaluation.curves) for row in rows if row.evaluation and row.evaluation.curves]
    if not shown:
        return None
    traces: list[dict[str, Any]] = [
        {"type": "scatter", "mode": "lines", "x": [0, 1], "y": [0, 1], "hoverinfo": "skip", "line": {"color": "$grid"}}
    ]
    for number, (row, curves) in enumerate(shown):
        heights = [np.interp(_GRID, curve.false_positive_rate, curve.true_positive_rate) for curve in curves]
        mean = np.mean(heights, axis=0)
        area = float(np.mean([curve.auc for curve in curves]))
        label = f"{name_of(row)}, AUC {figures.score(area)}"
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": label,
                "x": [0, *map(short, _GRID)],
                "y": [0, *(short(float(value)) for value in mean)],
                "line": {"color": f"${row.status}", "width": 1.5, "dash": _DASHES[number % len(_DASHES)]},
                "hovertemplate": f"{label}<br>%{{y:.3f}} at %{{x:.3f}}<extra></extra>",
                "showlegend": True,
            }
        )
    drawn = layout(height=380)
    drawn["xaxis"] |= {"title": {"text": "false positive rate"}, "range": [-0.02, 1.02]}
    drawn["yaxis"] |= {"title": {"text": "true positive rate"}, "range": [-0.02, 1.02]}
    drawn |= {"showlegend": True, "legend": {"x": 0.98, "xanchor": "right", "y": 0.04, "bgcolor": "rgba(0,0,0,0)"}}
    return {"data": traces, "layout": drawn}


def drops(rows: Sequence[Row]) -> Figure | None:
    """A point with its interval per variant; left of the line is better than PyTorch."""
    shown = [(row, row.evaluation.drop) for row in rows if row.evaluation and row.evaluation.drop]
    if not shown:
        return None
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [short(drop.value)],
            "y": [name_of(row)],
            "error_x": {
                "type": "data",
                "symmetric": False,
                "array": [short(drop.high - drop.value)],
                "arrayminus": [short(drop.value - drop.low)],
                "color": f"${row.status}",
            },
            "marker": {"color": f"${row.status}", "size": 9},
            "hovertemplate": f"{name_of(row)}<br>{figures.change(drop.value)} "
            f"({figures.change_interval(drop)})<extra></extra>",
        }
        for row, drop in shown
    ]
    scores = {row.evaluation.score for row, _ in shown if row.evaluation}
    drawn = layout(height=70 + 34 * len(shown))
    what = scores.pop() if len(scores) == 1 else "score"
    drawn["xaxis"] |= {
        "title": {"text": f"{what}: how much worse than PyTorch"},
        "zeroline": True,
        "zerolinecolor": "$muted",
    }
    drawn["yaxis"] |= {"autorange": "reversed", "automargin": True, "showgrid": False}
    return {"data": traces, "layout": drawn}
