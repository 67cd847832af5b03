"""Two runs side by side for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from farm.analysis import figures
from farm.analysis.change import Change, Pair, lack
from farm.analysis.figures import MISSING, plain

if TYPE_CHECKING:
    from farm.analysis.difference import Difference

_TOLD = {"worse": ("worse", "red"), "better": ("better", "green"), "same": ("no", "dim"), "unclear": ("?", "yellow")}


def blocks(difference: Difference) -> Iterator[RenderableType]:
    """One block per device and scenario, then what is on one side only, then what the marks mean."""
    yield Text(plain(difference.title), style="bold")
    for note in difference.notes:
        yield Text(plain(note), style="yellow")
    if not difference.pairs:
        yield Text("There is no job to compare.")
    changes = [each for each in difference.shown if each.change]
    for (virtual, device, scenario), rows in groupby(changes, key=lambda each: each.pair.place[:3]):
        title = Text(f"\n{plain(device)}", style="bold")
        if virtual:
            title.append(" virtual ", style="reverse")
        yield title.append(f"  {scenario}", style="bold")
        yield _table(list(rows))
    if difference.unmatched:
        yield Group(Text("\nWithout a result on both sides", style="bold"), *map(_unmatched, difference.unmatched))
    yield from _footer(changes)


def _table(rows: list[Change]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("variant", "metric", "before", "now", "change", "interval", "told apart", "verdicts"):
        table.add_column(heading, justify="right" if heading in ("before", "now", "change", "interval") else "left")
    last = None
    for row in rows:
        style = _TOLD[row.verdict][1]
        unit = row.quantity.unit
        table.add_row(
            "" if row.pair is last else Text(row.pair.place.variant, style="bold"),
            row.quantity.name,
            *(figures.of_unit(each.value, unit) if each else MISSING for each in (row.before, row.now)),
            Text(row.text, style=style),
            Text(row.interval_text, style="dim"),
            Text(_TOLD[row.verdict][0], style=style),
            "" if row.pair is last else row.pair.levels,
        )
        last = row.pair
    return table


def _unmatched(pair: Pair) -> Text:
    both = (("before", pair.before), ("now", pair.now))
    sides = [f"{side}: {plain(why)}" for side, outcome in both if (why := lack(outcome))]
    marked = " (virtual)" if pair.place.virtual else ""
    return Text(f"  {pair.place}{marked}  ").append("; ".join(sides), style="dim")


def _footer(rows: list[Change]) -> Iterator[RenderableType]:
    notes: dict[str, list[str]] = {}
    for row in rows:
        for note in row.pair.notes:
            notes.setdefault(note, []).append(str(row.pair.place))
    for note, places in notes.items():
        distinct = list(dict.fromkeys(places))
        more = f" and {len(distinct) - 1} more" if len(distinct) > 1 else ""
        yield Text(f"{plain(note)}: {distinct[0]}{more}", style="dim")
    if rows:
        levels = sorted({f"{row.confidence:.0%}" for row in rows if row.confidence})
        yield Text(
            f"Told apart: the interval ({' and '.join(levels) or 'none'}) of the change leaves out no change; each for "
            "itself, so of many rows some do by chance. ?: measured once, without an interval.",
            style="dim",
        )
