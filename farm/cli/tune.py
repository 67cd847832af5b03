"""``farm tune``: search for the best recipe on real devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.session import connect
from farm.errors import UserError
from farm.types import Protocol


def tune(
    context: typer.Context,
    *,
    model: Annotated[str, typer.Argument(help="A file, or name or id of an uploaded model.")],
    devices: Annotated[str, typer.Option(help="Selector, e.g. 'platform=linux'.")],
    objective: Annotated[str, typer.Option(help="Metrics with commas between; the first leads.")] = "latency_p50",
    constraint: Annotated[
        list[str] | None, typer.Option(help="Limit, e.g. 'parity_cosine>=0.999'; may be repeated.")
    ] = None,
    budget: Annotated[int, typer.Option(min=1, help="Candidates to try.")] = 40,
    threads: Annotated[str, typer.Option(help="Thread counts to choose from, e.g. 1,2.")] = "1",
    parallel: Annotated[int, typer.Option(min=1, help="Candidates at a time.")] = 2,
    max_seconds: Annotated[float | None, typer.Option(help="Time to measure one candidate.")] = None,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    inputs: Annotated[Path | None, typer.Option(help="Example inputs (.npz) of a model file.")] = None,
    parity_inputs: Annotated[Path | None, typer.Option(help="Inputs (.npz) to compare outputs on.")] = None,
    calibration_inputs: Annotated[Path | None, typer.Option(help="Inputs (.npz) to quantize with.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Search for the best variant: Optuna proposes, the devices measure, what cannot win is stopped early."""
    given: dict[str, Any] = {
        "example_inputs": inputs,
        "parity_inputs": parity_inputs,
        "calibration_inputs": calibration_inputs,
    }
    with connect(context) as client:
        found = client.tune(
            model,
            devices=devices,
            objective=[metric.strip() for metric in objective.split(",")],
            constraints=constraint or [],
            budget=budget,
            threads=_threads(threads),
            protocol=Protocol() if max_seconds is None else Protocol(max_seconds=max_seconds),
            parallel=parallel,
            seed=seed,
            **{key: value for key, value in given.items() if value is not None},
        )
    output.emit(found.to_dict(), as_json, found)
    raise typer.Exit(0 if found.front else 1)


def _threads(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"--threads {text} cannot be used.", remedy="Give counts with commas between.") from error
