"""Two runs side by side as Markdown, and as HTML for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from farm.analysis import figures
from farm.analysis.change import Change, Pair, lack
from farm.analysis.figures import MISSING
from farm.report.text import escaped, table

if TYPE_CHECKING:
    from farm.analysis.difference import Difference

HEADING = ("variant", "device", "scenario", "metric", "before", "now", "change")


def markdown(difference: Difference) -> str:
    lines = [f"**{escaped(difference.title)}**", "", *(f"- {escaped(note)}" for note in difference.notes)]
    rows = [(*where(each.pair), *cells(each), each.pair.levels) for each in difference.shown if each.change]
    if rows:
        lines += ["", *table((*HEADING, "told apart", "verdicts"), rows)]
    lacking = [(*where(pair), escaped(lack(pair.before)), escaped(lack(pair.now))) for pair in difference.unmatched]
    if lacking:
        lines += ["", "Without a result on both sides:", "", *table((*HEADING[:3], "before", "now"), lacking)]
    if not difference.pairs:
        lines.append("- There is no job to compare.")
    return "\n".join(lines) + "\n"


def fragment(difference: Difference) -> str:
    """The table with its own style."""
    from farm.report import html

    return html.table(
        "difference.html.j2",
        difference=difference,
        rows=[each for each in difference.shown if each.change],
        lacking=[(pair, lack(pair.before), lack(pair.now)) for pair in difference.unmatched],
        of_unit=figures.of_unit,
    )


def where(pair: Pair) -> tuple[str, str, str]:
    """Cells: variant, device (marked where it is virtual), scenario."""
    place = pair.place
    return escaped(place.variant), escaped(place.device) + " *(virtual)*" * place.virtual, escaped(place.scenario)


def cells(change: Change) -> tuple[str, ...]:
    """Metric, before, now, change with its interval, told apart."""
    unit = change.quantity.unit
    both = (figures.of_unit(each.value, unit) if each else MISSING for each in (change.before, change.now))
    told = "<br>".join(filter(None, (change.text, change.interval_text)))
    return f"`{change.quantity.name}`", *both, told, TOLD[change.verdict]


TOLD = {
    "worse": "**worse**",
    "better": "better",
    "same": "no",
    "unclear": "no interval",
    "absent": MISSING,
}
