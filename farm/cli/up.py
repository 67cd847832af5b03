"""``farm up``: head and embedded agent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.session import needs_extra, with_checked_profile
from farm.config import load
from farm.types import HeadStarted


def up(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0: any free one.")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Database, artifacts and logs.")] = None,
    ray_address: Annotated[
        str | None,
        typer.Option("--address", "--ray-address", help="An existing Ray cluster, HOST:PORT, instead of an own one."),
    ] = None,
    ray_host: Annotated[
        str | None, typer.Option(help="Address of this machine for agents on others; default: loopback only.")
    ] = None,
    virtual_devices: Annotated[
        int | None, typer.Option(help="So many virtual devices beside this machine's CPU.", min=0)
    ] = None,
    virtual_profile: Annotated[Path | None, typer.Option(help="YAML file that says which.")] = None,
    with_prometheus: Annotated[
        bool,
        typer.Option("--with-prometheus", help="Start a Prometheus, too, and push results to it (docs/metrics.md)."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Start a farm here: the head, and an agent for this machine's CPU. Runs until Ctrl-C."""
    settings = load(
        host=host,
        port=port,
        state_dir=state_dir,
        ray_address=ray_address,
        ray_host=ray_host,
        agent_virtual_devices=virtual_devices,
        agent_virtual_profile=virtual_profile,
    )
    with needs_extra("head"):
        from farm.supervisor.head import up as run_head

        settings = with_checked_profile(settings)

    announce = output.emit_line if as_json else _welcome
    raise typer.Exit(run_head(settings, announce=announce, with_prometheus=with_prometheus))


def _welcome(head: HeadStarted) -> None:
    typer.echo(f"Torchfarm at {head.url}, state in {head.state_dir}")
    if head.token:
        typer.echo("The admin token, shown only now. In another terminal:")
        typer.echo(f"  export FARM_URL={head.url}\n  export FARM_TOKEN={head.token}")
    else:
        typer.echo("The token is the one of the first start; `farm token create NAME` makes another.")
    if head.prometheus_url:
        typer.echo(f"Prometheus at {head.prometheus_url}")
    typer.echo("Ready. Ctrl-C stops it.")
