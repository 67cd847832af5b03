"""``farm doctor``: what is installed, what is missing, what to do."""

from __future__ import annotations

from dataclasses import asdict

import typer
from rich.text import Text

from farm.cli import output
from farm.cli.checks import run_checks
from farm.cli.output import JsonFlag
from farm.cli.session import target
from farm.config import load


def doctor(context: typer.Context, as_json: JsonFlag = False) -> None:
    """Check this machine and the farm it speaks to. Exit code 1 when something needed is missing."""
    chosen = target(context)
    checks = list(run_checks(load(url=chosen.url, token=chosen.token)))
    broken = [check for check in checks if check.broken]
    rows = [
        (output.state(check.status), check.name, Text.assemble(check.found, *_remedy(check.remedy))) for check in checks
    ]
    output.emit(
        {"ok": not broken, "checks": [asdict(check) for check in checks]},
        as_json,
        output.table(("", "what", "found"), rows, ""),
    )
    if broken and not as_json:
        output.note(f"Needed and missing: {', '.join(check.name for check in broken)}.")
    raise typer.Exit(1 if broken else 0)


def _remedy(text: str) -> list[tuple[str, str]]:
    return [("\n→ " + text, "bold")] if text else []
