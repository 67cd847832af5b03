"""``farm report``: the comparison as a web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.session import connect


def report(
    context: typer.Context,
    run: Annotated[int, typer.Argument(help="Number of the run.")],
    to: Annotated[Path | None, typer.Option("--output", "-o", help="Default: report-RUN.html here.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Write the report of a run: one HTML file that needs no network."""
    path = to or Path(f"report-{run}.html")
    with connect(context) as client:
        client.run(run).report(path)
    output.emit({"path": path.resolve()}, as_json, str(path))
