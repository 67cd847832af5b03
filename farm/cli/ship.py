"""``farm ship``: which variant to ship where."""

from __future__ import annotations

from typing import Annotated

import typer

from farm.cli.output import JsonFlag
from farm.cli.session import connect
from farm.cli.shown import Format, FormatOption, show


def ship(
    context: typer.Context,
    *,
    runs: Annotated[list[int], typer.Argument(help="Numbers of runs.")],
    objective: Annotated[str, typer.Option(help="What is made as good as the constraints allow.")] = "latency_p50",
    constraint: Annotated[
        list[str] | None, typer.Option(help="'artifact_size<=8MB', 'parity_cosine>=0.999'; may be repeated.")
    ] = None,
    by: Annotated[
        str, typer.Option(help="One variant per device, device_model, soc, platform, or one for all.")
    ] = "device",
    scenario: Annotated[str | None, typer.Option(help="Where the runs have several.")] = None,
    suspect: Annotated[bool, typer.Option("--suspect", help="Suspect results count too; they are marked.")] = False,
    include_virtual: Annotated[
        bool, typer.Option("--include-virtual", help="Virtual devices beside real ones; they are always marked.")
    ] = False,
    form: FormatOption = Format.TABLE,
    as_json: JsonFlag = False,
) -> None:
    """Say which variant to ship where, why, and what one variant for everything would cost.

    Exits with 1 where some place is left without one.
    """
    with connect(context) as client:
        comparison = client.compare(*runs, include_virtual=include_virtual)
    found = comparison.ship(objective, constraint or [], by=by, scenario=scenario, trusted_only=not suspect)
    show(found, form, as_json)
    raise typer.Exit(0 if found.complete else 1)
