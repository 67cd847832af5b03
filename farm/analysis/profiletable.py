"""Profiles and their differences as terminal tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from farm.analysis import figures
from farm.analysis.profile import Change, Diff, Line, OperatorProfile

TOP = 15


def operators(profile: OperatorProfile) -> Iterator[RenderableType]:
    """The most expensive operators, and how far the figures can be taken."""
    yield Text(figures.plain(profile.label), style="bold")
    named = any(line.name != line.type for line in profile.lines)
    columns = ("operator",) if named else ()
    rows = (_row(line, named) for line in profile.lines[:TOP])
    yield _table((*columns, "type", "where", "calls", "ms", "mean ms", "share"), rows, left=len(columns) + 2)
    if rest := profile.lines[TOP:]:
        seconds = sum(line.seconds for line in rest)
        yield Text(f"{len(rest)} more operators take {figures.milliseconds(seconds)} ms together.", style="dim")
    yield Text(figures.plain(profile.said), style="dim")


def changes(diff: Diff) -> Iterator[RenderableType]:
    """The largest changes by type and, where names match, by operator."""
    for heading, found in (("type", diff.types), ("operator", diff.names)):
        if found:
            columns = (heading, f"{diff.before.label} ms", f"{diff.after.label} ms", "change ms", "calls")
            yield _table(columns, map(_change, found[:TOP]), left=1)
    before, after = (
        f"{figures.milliseconds(side.profile.operators_seconds)} ms ({figures.milliseconds(side.median_seconds)})"
        for side in (diff.before, diff.after)
    )
    yield Text(f"All operators (median without the profiler): {before} to {after}.")


def _row(line: Line, named: bool) -> tuple[str, ...]:
    figured = figures.number(line.calls), figures.milliseconds(line.seconds), figures.milliseconds(line.mean_seconds)
    return (*((line.name,) if named else ()), line.type, line.where, *figured, f"{line.share:.1%}")


def _change(change: Change) -> tuple[str, ...]:
    before, after = (
        figures.MISSING if seconds is None else figures.milliseconds(seconds)
        for seconds in (change.before_seconds, change.after_seconds)
    )
    calls = f"{figures.number(change.before_calls)} → {figures.number(change.after_calls)}"
    sign = "+" if change.gained_seconds > 0 else ""
    return change.name, before, after, sign + figures.milliseconds(change.gained_seconds), calls


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]], *, left: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(figures.plain(column), justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(figures.plain(cell)) for cell in row))
    return table
