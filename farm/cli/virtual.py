"""``farm virtual``: devices that do not exist, to try a farm out at scale."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from farm.cli import agent
from farm.cli.agent import Head, StateDir
from farm.cli.output import JsonFlag
from farm.cli.session import target
from farm.config import load
from farm.errors import InfrastructureError, UserError

app = typer.Typer(help="Virtual devices, to try a farm out: never to be taken for real ones.", no_args_is_help=True)


@app.callback()
def virtual() -> None:
    """Virtual devices, to try a farm out: never to be taken for real ones."""


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


def _default_folder(port: int) -> Path:
    return load().state_dir / "phones" / str(port)


@app.command()
def android(
    port: Annotated[
        int, typer.Option(help="For `adb connect 127.0.0.1:PORT`; 0: a free one.", min=0, max=65535)
    ] = 5555,
    profile: Annotated[str, typer.Option(help="A built-in one, or a YAML file: docs/virtual-phone.md.")] = "galaxy-s23",
    abi: Annotated[Literal["arm64-v8a", "x86_64"], typer.Option(help="arm64-v8a runs under qemu.")] = "x86_64",
    folder: Annotated[
        Path | None, typer.Option(help="For its control socket and keys; default: by its port, in the state folder.")
    ] = None,
    serial: Annotated[str | None, typer.Option(help="Default: by its folder.")] = None,
    busybox: Annotated[Path | None, typer.Option(help="A static one, also of arm64; default: this machine's.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run a virtual Android phone that adb can connect to, until Ctrl-C. What is on it ends with it."""
    if not sys.platform.startswith("linux"):
        raise InfrastructureError("A virtual phone needs Linux: its namespaces.", remedy="Run it in a Linux machine.")
    from agents.virtual.phone import VirtualPhone

    async def run() -> None:
        ended = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        phone = VirtualPhone(profile, abi, folder or _default_folder(port), port, serial=serial, busybox=busybox)
        await phone.start()
        try:
            address = f"127.0.0.1:{phone.port}"
            if as_json:
                facts = {"serial": phone.serial, "address": address, "folder": str(phone.folder)}
                typer.echo(json.dumps({**facts, "profile": phone.profile.name, "abi": abi, "virtual": True}))
            else:
                typer.echo(f"Virtual phone {phone.serial} ({phone.profile.name}, {abi}): adb connect {address}")
            await ended.wait()
        finally:
            await phone.stop()

    asyncio.run(run())


@app.command()
def fault(
    phone: Annotated[str, typer.Argument(help="Its port, or its folder.")],
    name: Annotated[str | None, typer.Argument(help="Which; without one: those in force.")] = None,
    value: Annotated[str, typer.Argument(help="JSON or a word; false and null end it.")] = "true",
    clear: Annotated[bool, typer.Option("--clear", help="End all faults.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Let something go wrong with a virtual phone that runs, or end it."""
    from agents.virtual.phone.control import order

    if clear and name:
        raise UserError("--clear ends all faults, not one.", remedy=f"Say `farm virtual fault {phone} {name} false`.")
    try:
        meant = json.loads(value)
    except json.JSONDecodeError:
        meant = value
    message = {"clear": True} if clear else {"fault": name, "value": meant} if name else {}
    faults = order(_default_folder(int(phone)) if phone.isdigit() else Path(phone), message)
    if as_json:
        typer.echo(json.dumps(faults))
    else:
        typer.echo("\n".join(f"{key}: {json.dumps(setting)}" for key, setting in faults.items() if setting) or "none")
