"""``farm virtual``: devices that do not exist, to try a farm out at scale."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farm.cli import agent
from farm.cli.agent import Head, StateDir
from farm.cli.output import JsonFlag
from farm.cli.session import target
from farm.config import load

app = typer.Typer(help="Virtual devices: their figures come from a model, never from a machine.", no_args_is_help=True)


@app.callback()
def virtual() -> None:
    """Virtual devices: their figures come from a model, never from a machine."""


@app.command()
def fleet(
    context: typer.Context,
    head: Head,
    devices: Annotated[int, typer.Option(help="How many.", min=1)],
    profile: Annotated[Path | None, typer.Option(help="YAML file that says which; default: phones and boards.")] = None,
    name: Annotated[str, typer.Option(help="Name of this agent; stable and unique in the farm.")] = "virtual",
    state_dir: StateDir = None,
    as_json: JsonFlag = False,
) -> None:
    """Offer virtual devices to a farm: `farm agent` with these instead of this machine's. Runs until Ctrl-C.

    It prints nothing on stdout; --json is for its errors.
    """
    settings = load(
        agent_name=name,
        agent_host_device=False,
        agent_virtual_devices=devices,
        agent_virtual_profile=profile,
        state_dir=state_dir,
        token=target(context).token,
    )
    agent.run(settings, head)
