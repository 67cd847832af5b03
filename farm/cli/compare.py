"""``farm compare``: the jobs of runs side by side."""

from __future__ import annotations

from typing import Annotated

import typer

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.session import connect
from farm.cli.shown import Format, FormatOption, show
from farm.errors import UserError


def compare(
    context: typer.Context,
    *,
    runs: Annotated[list[int], typer.Argument(help="Numbers of runs.")],
    across: Annotated[
        str | None, typer.Option(metavar="METRIC", help="How many times better than PyTorch, over all devices.")
    ] = None,
    pareto: Annotated[
        str | None, typer.Option(metavar="METRIC,METRIC", help="Variants that nothing beats in all of them.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="For --pareto: on this one; otherwise over all.")] = None,
    baseline: Annotated[str | None, typer.Option(help="For --across: another variant than PyTorch.")] = None,
    variants: Annotated[str | None, typer.Option(help="Only these, with commas between.")] = None,
    scenario: Annotated[str | None, typer.Option(help="Where the runs have several.")] = None,
    include_virtual: Annotated[
        bool, typer.Option("--include-virtual", help="Virtual devices beside real ones; they are always marked.")
    ] = False,
    form: FormatOption = Format.TABLE,
    as_json: JsonFlag = False,
) -> None:
    """Compare variants: latency with its interval, speed-up, memory, size, parity, verdict; over devices; a front."""
    if across and pareto:
        raise UserError("--across and --pareto are two questions.", remedy="Ask one at a time.")
    for flag, given, needed in (("device", device, pareto), ("baseline", baseline, across)):
        if given and not needed:
            raise UserError(
                f"--{flag} says nothing here.", remedy=f"It goes with {'--pareto' if flag == 'device' else '--across'}."
            )
    only = [name.strip() for name in variants.split(",")] if variants else None
    with connect(context) as client:
        comparison = client.compare(*runs, include_virtual=include_virtual)
    if across:
        show(comparison.across(across, baseline=baseline, variants=only, scenario=scenario), form, as_json)
    elif pareto:
        metrics = [metric.strip() for metric in pareto.split(",")]
        show(comparison.pareto(*metrics, device=device, variants=only, scenario=scenario), form, as_json)
    elif variants or scenario or form is not Format.TABLE:
        raise UserError(
            "--variants, --scenario and --format go with --across or --pareto.", remedy="Name a metric for one of them."
        )
    else:
        output.emit(comparison.to_dict() if as_json else None, as_json, comparison)
