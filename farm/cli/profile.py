"""``farm runs profile``: what the operators of a run's variants cost."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.session import connect
from farm.errors import NotFoundError, UserError


def profile(
    context: typer.Context,
    run: Annotated[int, typer.Argument(help="Number of a run that was submitted with --profile.")],
    recipe: Annotated[str | None, typer.Option(help="This recipe; default: all.")] = None,
    against: Annotated[str | None, typer.Option(help="What changes from --recipe to this one, by operator.")] = None,
    device: Annotated[str | None, typer.Option(help="Where the run has several devices.")] = None,
    scenario: Annotated[str | None, typer.Option(help="Where it has several scenarios, e.g. single-stream/1t.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Where the time goes: operators of a variant, or the difference between two."""
    from farm.analysis.profile import find, of

    if against and not recipe:
        raise UserError("--against compares with --recipe.", remedy="Give both.")
    with connect(context) as client:
        outcomes = client.run(run).outcomes()
    if recipe and against:
        diff = find(outcomes, recipe, device, scenario).diff(find(outcomes, against, device, scenario))
        output.emit(diff.to_dict() if as_json else None, as_json, diff)
        return
    if recipe:
        found = [find(outcomes, recipe, device, scenario)]
    else:
        wanted = [
            outcome
            for outcome in outcomes
            if device in (None, outcome.device.id) and scenario in (None, str(outcome.job.scenario))
        ]
        found = [profile for outcome in wanted if (profile := of(outcome)) is not None]
    if not found:
        raise NotFoundError(
            f"Run {run} has no profiles.", remedy="Submit with --profile; `farm report` says what is absent, and why."
        )
    output.emit([profile.to_dict() for profile in found] if as_json else None, as_json, Group(*found))
