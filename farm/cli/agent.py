"""``farm agent``: this machine's devices for a farm elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.session import needs_extra, target, with_checked_profile
from farm.config import Settings, load

Head = Annotated[str, typer.Option("--join", "--head", help="URL of the farm, e.g. http://farm.example:7070.")]
StateDir = Annotated[Path | None, typer.Option(help="Journal and cache.")]


def agent(
    context: typer.Context,
    head: Head,
    name: Annotated[str | None, typer.Option(help="Name of this agent; stable and unique in the farm.")] = None,
    build_slots: Annotated[
        int | None, typer.Option(help="Build artifacts here as well, so many at a time.", min=0)
    ] = None,
    state_dir: StateDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Offer this machine's devices to a farm. Needs a token of role agent. Runs until Ctrl-C.

    It prints nothing on stdout; --json is for its errors.
    """
    settings = load(agent_name=name, agent_build_slots=build_slots, state_dir=state_dir, token=target(context).token)
    run(settings, head)


def run(settings: Settings, head: str) -> NoReturn:
    """Until Ctrl-C, then leave the command with the exit code."""
    with needs_extra("head" if settings.agent_build_slots else "agent"):
        from farm.supervisor.agent import agent as run_agent

        settings = with_checked_profile(settings)
        code = run_agent(settings, head, announce=output.note)
    raise typer.Exit(code)
