"""The objects of a comparison as HTML for a notebook: tables with their own style, no script, everything escaped."""

from __future__ import annotations

from collections.abc import Sequence

from farm.analysis.sheet import Line, Sheet
from farm.report.html import table
from farm.types import Run


def of_sheets(sheets: Sequence[Sheet]) -> str:
    return table("sheets.html.j2", sheets=sheets)


def of_run(run: Run) -> str:
    """As the farm last said."""
    facts = {
        "model": f"{run.model_name} ({run.model_id[:12]})",
        "state": str(run.state),
        "jobs": ", ".join(f"{count} {state}" for state, count in run.jobs.items()),
        "variants": ", ".join(recipe.name for recipe in run.spec.recipes),
        "devices": run.spec.devices,
        "by": f"{run.created_by}, {run.created_at:%Y-%m-%d %H:%M %Z}",
    }
    lines = tuple(Line(((name, ""), (value, ""))) for name, value in facts.items() if value)
    name = f"Run {run.id}" + (f": {run.spec.name}" if run.spec.name else "")
    return of_sheets([Sheet(name, (("", ""), ("", "")), lines, left=2)])
