"""The page of a regression: one HTML file that loads nothing and runs no script.

Names, reasons and versions come from elsewhere: everything is escaped, and the policy forbids the page all but its own
style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

import jinja2
from markupsafe import Markup

import farm
from farm.analysis import figures, regressed
from farm.analysis.quantities import quantity
from farm.report import drawing
from farm.report.drawing import Drawing
from farm.report.environment import pages
from farm.types import Estimate, Evidence, HistoryPoint, Member, Night, Regression

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

_WIDTH = 860
_MOST_MEMBERS = 40


def render(regression: Regression, points: Sequence[HistoryPoint], nights: Mapping[int, Night]) -> str:
    """``points``: of the series that shows it most, the oldest first; ``nights``: of the sweep, by number."""
    metric, change = regressed.amount(regression)
    return (
        _environment()
        .get_template("regression.html.j2")
        .render(
            policy=POLICY,
            regression=regression,
            headline=regressed.headline(regression),
            meaning=regressed.meaning(regression),
            metric=metric,
            change=change,
            own=regression.worst.own_change if regressed.shared(regression.worst) else None,
            night=nights.get(regression.night_id),
            seen=nights.get(regression.seen_night_id),
            history=_history(regression, points),
            where=_where(regression.members),
            evidence=[(each, _pairs(each)) for each in regression.evidence],
            most_members=_MOST_MEMBERS,
            style=_text("style.css") + _text("regression.css"),
            version=farm.__version__,
        )
    )


def _history(regression: Regression, points: Sequence[HistoryPoint]) -> Markup | None:
    """Night by night, with the change-point, and what it was and became."""
    metric, worst = regression.key.metric, regression.worst
    shown = [(point, point.figures[metric]) for point in points if metric in point.figures]
    if not shown:
        return None
    drawn = Drawing(_WIDTH, 260, f"History of {regression.key}")
    levels = [level for level in (worst.before, worst.now) if level]
    low, high = drawing.padded(
        [end for _, figure in shown for end in (figure.low, figure.high)] + [level.value for level in levels]
    )
    y = drawn.vertical(low, high, lambda value: regressed.figure(value, metric))
    x = drawn.days(shown[0][0].measured_at, shown[-1][0].measured_at)
    right = _WIDTH - drawing.RIGHT
    since = regression.since
    if since and shown[0][0].measured_at <= since <= shown[-1][0].measured_at:
        at = round(x(since) - 6, 1)
        drawn.box(at, drawing.TOP, right, drawn.height - drawing.BOTTOM, "after")
        drawn.line(at, drawing.TOP, at, drawn.height - drawing.BOTTOM, "since")
        drawn.text(at - 5, drawing.TOP + 12, f"changed {since:%d %b}", "end", "label strong")
    for level, style in zip((worst.before, worst.now), ("level before", "level now"), strict=True):
        if level:
            drawn.line(drawing.LEFT, y(level.value), right, y(level.value), style)
    for point, figure in shown:
        at = x(point.measured_at)
        tonight = worst.new is not None and point.job_id == worst.new.job_id
        style = "now" if tonight else "before" if point.trusted else "doubtful"
        drawn.line(at, y(figure.low), at, y(figure.high), f"whisker {style}")
        said = (
            f"{point.measured_at:%Y-%m-%d %H:%M} UTC: {regressed.figure(figure.value, metric)}, {point.verdict}, "
            f"job {point.job_id}"
        )
        drawn.dot(at, y(figure.value), f"dot {style}", said, 4.5 if tonight else 3.5)
    return Markup(drawn.svg())  # noqa: S704 - Drawing escapes its texts


def _where(members: Sequence[Member]) -> Markup | None:
    """The change of each series that shows it."""
    shown = [member for member in members if member.change][:_MOST_MEMBERS]
    if len(shown) < 2 or len({member.key.metric for member in shown}) > 1:
        return None
    metric = shown[0].key.metric
    row = 22
    drawn = Drawing(_WIDTH, drawing.TOP + drawing.BOTTOM + row * len(shown), f"Change of {metric} where it shows")
    ends = [end for member in shown if member.change for end in (member.change.low, member.change.high)]
    none = 0.0 if quantity(metric).score else 1.0
    low, high = drawing.padded([*ends, none])
    x = drawing.Scale(low, high, 250, _WIDTH - drawing.RIGHT)
    for tick in drawing.ticks(low, high, most=8):
        drawn.line(x(tick), drawing.TOP, x(tick), drawn.height - drawing.BOTTOM, "grid")
        said = regressed.change(Estimate(value=tick, low=tick, high=tick), metric)
        drawn.text(x(tick), drawn.height - drawing.BOTTOM + 18, said, "middle")
    drawn.line(x(none), drawing.TOP, x(none), drawn.height - drawing.BOTTOM, "zero")
    for number, member in enumerate(shown):
        if member.change:
            y = drawing.TOP + row * (number + 0.5)
            drawn.text(240, y + 4, f"{member.key.variant} on {member.key.device}", "end")
            drawn.bar(x, y, member.change, "whisker now")
            said = f"{member.key}: {regressed.change(member.change, metric)}"
            drawn.dot(x(member.change.value), y, "dot now", said)
    return Markup(drawn.svg())  # noqa: S704 - as above


def _pairs(evidence: Evidence) -> Markup | None:
    """Old and new of each pair, in the order of time."""
    if not evidence.pairs:
        return None
    metric = evidence.key.metric
    drawn = Drawing(_WIDTH, 200, f"Pairs of {evidence.key}")
    low, high = drawing.padded([value for pair in evidence.pairs for value in (pair.before, pair.now)], 0.15)
    y = drawn.vertical(low, high, lambda value: regressed.figure(value, metric))
    x = drawing.Scale(0.5, len(evidence.pairs) + 0.5, drawing.LEFT, _WIDTH - drawing.RIGHT)
    for number, pair in enumerate(evidence.pairs, 1):
        # Who came first stands to the left.
        first = -0.12 if pair.before_job_id < pair.now_job_id else 0.12
        old, new = x(number + first), x(number - first)
        drawn.line(old, y(pair.before), new, y(pair.now), "pair")
        drawn.dot(old, y(pair.before), "dot before", f"old, job {pair.before_job_id}", 4.5)
        drawn.dot(new, y(pair.now), "dot now", f"new, job {pair.now_job_id}", 4.5)
        drawn.text(x(number), drawn.height - drawing.BOTTOM + 18, f"pair {number}", "middle")
    return Markup(drawn.svg())  # noqa: S704 - as above


@cache
def _environment() -> jinja2.Environment:
    environment = pages()
    environment.filters |= {
        "plain": figures.plain,
        "figure": regressed.figure,
        "interval": regressed.interval,
        "change": regressed.change,
        "change_interval": regressed.change_interval,
        "limit": regressed.limit,
        "noise": regressed.noise,
    }
    environment.globals["MISSING"] = figures.MISSING
    return environment


def _text(name: str) -> str:
    return resources.files("farm.report").joinpath("templates", name).read_text(encoding="utf-8")
