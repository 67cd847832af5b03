"""The comparison as HTML: one self-contained file that needs no network, or a table for a notebook.

Names, messages and logs come from models and devices, so everything is escaped (jinja2's autoescape), data for the
plots travels as escaped JSON, and a content security policy forbids the page every connection and every script but
its own.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np

import farm
from farm.analysis import figures, insight
from farm.analysis import profile as profiles
from farm.analysis.advice import caveats, headline, unreadable
from farm.analysis.overview import Overview, front_of, overviews
from farm.analysis.row import Row
from farm.analysis.rules import RULES
from farm.analysis.sheet import Sheet
from farm.report import operators, overview, plots, scores
from farm.report.environment import pages

if TYPE_CHECKING:
    from farm.analysis.comparison import Comparison

OPEN_SETTINGS = 4  # further ones are folded


def render(comparison: Comparison, samples: Mapping[int, Sequence[float]], title: str | None = None) -> str:
    """The report as one HTML document. ``samples``: latency samples in seconds by job id; may lack jobs."""
    from plotly.offline import get_plotlyjs

    arrays = {id: np.asarray(values, dtype=np.float64) for id, values in samples.items() if len(values)}
    names = list(dict.fromkeys(run.model_name for run in comparison.runs.values()))
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=title or ("Torchfarm: " + (", ".join(names) or "comparison")),
            comparison=comparison,
            sections=[
                {
                    "recommendation": recommendation,
                    "setting": recommendation.setting,
                    "device": rows[0].outcome.device,
                    "rows": rows,
                    "headline": headline(recommendation),
                    "caveats": list(caveats(recommendation, rows)),
                    "unreadable": unreadable(rows),
                    "plots": _plots(rows, arrays),
                    "front": _front(rows),
                    "profiles": [found for row in rows if (found := profiles.of(row.outcome))],
                    "without_samples": [row for row in rows if row.outcome.result and row.outcome.job.id not in arrays],
                }
                for recommendation in comparison.recommendations()
                for rows in [comparison.settings[recommendation.setting]]
            ],
            overviews=_overviews(comparison),
            open_settings=OPEN_SETTINGS,
            rules=RULES,
            counts=", ".join(
                f"{count} {status}" for status, count in Counter(row.status for row in comparison.rows).items()
            ),
            devices=list({row.setting.device: row.outcome.device for row in comparison.rows}.values()),
            artifacts=list({row.outcome.artifact.key: row for row in comparison.rows if row.outcome.artifact}.values()),
            absences=_absences(comparison.rows),
            failures=[row for row in comparison.rows if row.failure],
            occurring={reason.code for row in comparison.rows for reason in row.reasons},
            version=farm.__version__,
            nonce=secrets.token_urlsafe(16),
            plotly_js=get_plotlyjs(),
            style=_text("style.css"),
            table_style=_text("table.css"),
            script=_text("report.js"),
        )
    )


def fragment(comparison: Comparison) -> str:
    """The tables with their own style, for a notebook."""
    return (
        _environment()
        .get_template("fragment.html.j2")
        .render(
            comparison=comparison,
            sections=[
                (recommendation, comparison.settings[recommendation.setting], headline(recommendation))
                for recommendation in comparison.recommendations()
            ],
            sheets=[sheet for found in overviews(comparison.rows) for sheet in _sheets(found)],
            style=_text("table.css"),
        )
    )


def table(template: str, **values: Any) -> str:
    """Another template that shows tables, with their style."""
    return _environment().get_template(template).render(style=_text("table.css"), **values)


def _plots(rows: Sequence[Row], samples: Mapping[int, plots.Samples]) -> list[dict[str, Any]]:
    drawn = [
        (
            "Latency",
            "Box: the middle half of the samples; whiskers: 5th to 95th percentile; dots: samples beyond.",
            plots.distribution(rows, samples),
            True,
        ),
        ("Latency against size", "Bottom left is best.", plots.against_size(rows), False),
        (
            "Latency against parity",
            "Bottom left is best: fast, and closest to PyTorch.",
            plots.against_parity(rows),
            False,
        ),
        (
            "Where the time goes",
            "Operators by type, per inference; the tick is the median without the profiler.",
            operators.bars([(row.label, found) for row in rows if (found := profiles.of(row.outcome))]),
            True,
        ),
        (
            "ROC curve",
            "On the labelled set; of more than two classes the mean of each class against all others.",
            scores.roc(rows),
            False,
        ),
        (
            "Drop",
            "On the labelled set, against PyTorch on the same samples, with the interval; right of the line is worse.",
            scores.drops(rows),
            False,
        ),
        (
            "In the order measured",
            "Each sample over its variant's median; the line is the running median. A slope or a step is drift; "
            "samples beyond a panel stand at its edge.",
            plots.series(rows, samples),
            True,
        ),
    ]
    return [
        {"title": title, "caption": caption, "figure": figure, "wide": wide}
        for title, caption, figure, wide in drawn
        if figure is not None
    ]


def _absences(rows: Sequence[Row]) -> dict[tuple[str, str], list[int]]:
    """Job ids by figure and reason, so that a reason that all jobs share is told once."""
    found: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        for name, why in row.absent.items() if row.outcome.result else ():
            found.setdefault((name, why), []).append(row.outcome.job.id)
    return dict(sorted(found.items()))


def _overviews(comparison: Comparison) -> list[dict[str, Any]]:
    """Of several devices, one per scenario."""
    return [
        {
            "scenario": found.front.scenario,
            "virtual": found.front.virtual,
            "means": [(means.sheets()[0], overview.forest(means)) for means in found.means],
            "front": (found.front.sheets()[0], overview.front_panels(found.front)),
        }
        for found in overviews(comparison.rows)
    ]


def _front(rows: Sequence[Row]) -> tuple[Sheet, dict[str, Any] | None] | None:
    found = front_of(rows)
    return (found.sheets()[0], overview.front_panels(found)) if found else None


def _sheets(found: Overview) -> list[Sheet]:
    return [sheet for shown in (*found.means, found.front) for sheet in shown.sheets()]


@cache
def _environment() -> jinja2.Environment:
    environment = pages()
    environment.filters |= {
        "milliseconds": figures.milliseconds,
        "milliseconds_interval": figures.milliseconds_interval,
        "times": figures.times,
        "times_interval": figures.times_interval,
        "duration": figures.duration,
        "size": figures.size,
        "cosine": figures.cosine,
        "number": figures.number,
        "plain": figures.plain,
        "count": figures.count,
        "coverage": insight.coverage,
        "score": figures.score,
        "energy": figures.energy,
        "energy_interval": figures.energy_interval,
        "power": figures.power,
        "change": figures.change,
        "change_interval": figures.change_interval,
    }
    environment.globals["MISSING"] = figures.MISSING
    return environment


def _text(name: str) -> str:
    return resources.files("farm.report").joinpath("templates", name).read_text(encoding="utf-8")
