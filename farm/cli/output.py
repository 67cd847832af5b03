"""What commands print: JSON for machines, Rich for people. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from pydantic_core import to_jsonable_python
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from farm.errors import FarmError, UserError

PIPE_WIDTH = 200  # columns where there is no terminal to fit


def _also_before_the_subcommand(context: typer.Context, given: bool) -> bool:
    """``farm devices --json list`` is ``farm devices list --json``."""
    return given or bool(context.parent and context.parent.params.get("as_json"))


JsonFlag = Annotated[
    bool,
    typer.Option(
        "--json", help="Machine-readable output; errors as JSON on stderr.", callback=_also_before_the_subcommand
    ),
]


def emit(value: Any, as_json: bool, human: RenderableType) -> None:
    """Print ``value`` (models, lists and dicts of them) as JSON, or ``human``."""
    if as_json:
        typer.echo(json.dumps(to_jsonable_python(value), indent=2))
    else:
        console().print(human)


def emit_line(value: Any) -> None:
    """One JSON document on one line, for streams."""
    typer.echo(json.dumps(to_jsonable_python(value)))


def note(text: str) -> None:
    """Said to a person, beside the result."""
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def report_error(error: FarmError, as_json: bool) -> int:
    """Print an error with its remedy on stderr. Returns the exit code: 2 for the user's mistakes, else 1."""
    if as_json:
        document = {
            "code": error.code,
            "fault": error.fault,
            "message": error.message,
            "remedy": error.remedy,
            "details": error.details,
        }
        typer.echo(json.dumps(to_jsonable_python(document, fallback=str)), err=True)
    else:
        stderr = Console(stderr=True)
        stderr.print(Text.assemble(("error: ", "bold red"), error.message), soft_wrap=True)
        if error.remedy:
            stderr.print(Text.assemble(("  try: ", "bold"), error.remedy), soft_wrap=True)
        if tail := error.details.get("log_tail"):
            stderr.print(Text(str(tail).rstrip(), style="dim"), soft_wrap=True)
    return 2 if isinstance(error, UserError) else 1


def console() -> Console:
    stdout = Console()
    return stdout if stdout.is_terminal else Console(width=PIPE_WIDTH)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> RenderableType:
    """Cells are plain text or Rich's ``Text``; ``empty`` is said where there is no row."""
    grid = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        grid.add_column(column)
    for row in rows:
        grid.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    return grid if grid.row_count else Text(empty, style="dim")


def facts(pairs: Iterable[tuple[str, object]]) -> Table:
    """Name and value per line; what is None or empty is left out."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    for name, value in pairs:
        if value not in (None, "", ()):
            grid.add_row(Text(name, style="bold"), value if isinstance(value, Text) else Text(str(value)))
    return grid


STATE_STYLES = {
    "online": "green",
    "finished": "green",
    "built": "green",
    "trusted": "green",
    "usable": "green",
    "ok": "green",
    "good": "green",
    "passed": "green",
    "leased": "cyan",
    "running": "cyan",
    "building": "cyan",
    "active": "cyan",
    "preparing": "cyan",
    "examined": "green",
    "waiting": "yellow",
    "skipped": "yellow",
    "suspect": "yellow",
    "warn": "yellow",
    "maintenance": "yellow",
    "unknown": "yellow",
    "looping": "yellow",
    "cancelled": "yellow",
    "offline": "red",
    "bad": "red",
    "failed": "red",
    "invalid": "red",
    "missing": "red",
}


def state(word: str) -> Text:
    return Text(word, style=STATE_STYLES.get(word, ""))


def size(count: int | None) -> str:
    """Bytes for people, in powers of ten."""
    if count is None:
        return "–"
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"


def local_time(at: datetime) -> str:
    """In the time zone of whoever reads it; without the date if that is today's."""
    here = at.astimezone()
    return f"{here:%H:%M}" if here.date() == datetime.now().astimezone().date() else f"{here:%Y-%m-%d %H:%M}"


def seconds(value: float | None) -> str:
    """A duration for people, in the unit that suits it."""
    if value is None:
        return "–"
    if value >= 1:
        return f"{value:.3g} s"
    return f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} µs"
