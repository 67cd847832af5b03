"""``farm compare``: the jobs of runs side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.session import connect


def compare(
    context: typer.Context,
    runs: Annotated[list[int], typer.Argument(help="Numbers of runs.")],
    include_virtual: Annotated[
        bool, typer.Option("--include-virtual", help="Virtual devices beside real ones; they are always marked.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Compare variants: latency with its interval, speed-up, memory, size, parity, verdict."""
    with connect(context) as client:
        comparison = client.compare(*runs, include_virtual=include_virtual)
    output.emit(comparison.to_dict() if as_json else None, as_json, comparison)
