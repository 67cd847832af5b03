"""``farm gate``: may a run pass? For CI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.session import connect
from farm.errors import FarmError, UserError
from farm.gate import limit
from farm.gate.decision import Allowances, Exit

_Limits = list[str] | None


def gate(
    context: typer.Context,
    run: Annotated[int, typer.Argument(help="Number of the run that is to pass.")],
    baseline: Annotated[
        str,
        typer.Option(help="A run's number, sweep:NAME, or a name: the newest finished run of that name and model."),
    ],
    max_regression: Annotated[_Limits, typer.Option(help="METRIC=3%: at most so much worse. Repeatable.")] = None,
    max_drop: Annotated[_Limits, typer.Option(help="METRIC=0.01, of scores: at most so much lower.")] = None,
    maximum: Annotated[_Limits, typer.Option("--max", help="METRIC=20ms: at most this, whatever was before.")] = None,
    minimum: Annotated[_Limits, typer.Option("--min", help="METRIC=0.75: at least this.")] = None,
    noise: Annotated[
        _Limits, typer.Option(help="METRIC=2%: how much runs of one artifact differ on these devices.")
    ] = None,
    allow_suspect: Annotated[bool, typer.Option("--allow-suspect", help="Judge suspect results, too.")] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Pass over rows that have no figure on both sides.")
    ] = False,
    allow_untold: Annotated[
        bool, typer.Option("--allow-untold", help="Let rows pass that are proved neither worse nor within.")
    ] = False,
    include_virtual: Annotated[
        bool, typer.Option("--include-virtual", help="Virtual devices beside real ones; they are always marked.")
    ] = False,
    summary: Annotated[Path | None, typer.Option(help="Append the summary to this file, as Markdown.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare a run with a baseline under limits, for CI (docs/ci.md).

    Exit codes: 0 passed, 1 regression, 2 wrong command line, 3 cannot be told.
    """
    limits = [
        *map(limit.max_regression, max_regression or ()),
        *map(limit.max_drop, max_drop or ()),
        *(limit.bound("max", text) for text in maximum or ()),
        *(limit.bound("min", text) for text in minimum or ()),
    ]
    allowances = Allowances(allow_suspect, allow_missing, allow_untold, dict(map(limit.noise, noise or ())))
    try:
        with connect(context) as client:
            found = client.gate(
                run, baseline=baseline, limits=limits, allowances=allowances, include_virtual=include_virtual
            )
    except UserError:
        raise
    except FarmError as error:  # 1 would say that something got worse
        output.report_error(error, as_json)
        raise typer.Exit(Exit.UNTOLD) from None
    if summary:
        _append(summary, found.to_markdown())
    output.emit(found.to_dict() if as_json else None, as_json, found)
    raise typer.Exit(found.exit)


def _append(path: Path, text: str) -> None:
    """As CI systems want it of the file that they name."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"The summary cannot be written to {path}: {error}.", remedy="Name another file.") from error
