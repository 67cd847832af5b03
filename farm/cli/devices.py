"""``farm devices``: what can measure."""

from __future__ import annotations

from typing import Annotated

import typer

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.session import connect
from farm.types import Device

app = typer.Typer(help="Devices of the farm.", invoke_without_command=True)

SelectorOption = Annotated[
    str | None, typer.Option("--selector", "-s", help="Only these, e.g. 'platform=linux,memory_gib>=8'.")
]


@app.callback()
def devices(context: typer.Context, selector: SelectorOption = None, as_json: JsonFlag = False) -> None:
    """Devices of the farm; without a command, all of them."""
    if context.invoked_subcommand is None:
        _list(context, selector, as_json)


@app.command("list")
def list_devices(context: typer.Context, selector: SelectorOption = None, as_json: JsonFlag = False) -> None:
    """List devices."""
    _list(context, selector, as_json)


@app.command()
def show(context: typer.Context, device: str, as_json: JsonFlag = False) -> None:
    """Everything known of one device."""
    with connect(context) as client:
        found = client.device(device)
    facts = found.facts
    kind = " ".join(["virtual"] if facts.virtual else []) or None
    pairs: list[tuple[str, object]] = [
        ("id", found.id),
        ("state", output.state(found.state)),
        ("agent", found.agent),
        ("host", found.host),
        ("platform", facts.platform),
        ("device_model", facts.device_model),
        ("soc", facts.soc),
        ("abi", facts.abi),
        ("os_version", facts.os_version),
        ("memory", output.size(facts.memory_bytes)),
        ("cpu_count", facts.cpu_count),
        ("accelerators", ", ".join(facts.accelerators)),
        ("runtimes", ", ".join(facts.runtimes)),
        ("kind", kind),
        ("hypervisor", facts.hypervisor),
        ("labels", ", ".join(f"{key}={value}" for key, value in found.labels.items())),
        ("last_seen_at", found.last_seen_at),
    ]
    output.emit(found, as_json, output.facts(pairs))


def _list(context: typer.Context, selector: str | None, as_json: bool) -> None:
    with connect(context) as client:
        found = client.devices(selector)
    columns = ("device", "state", "platform", "model", "soc", "cpus", "memory", "runtimes")
    output.emit(
        found,
        as_json,
        output.table(columns, map(_row, found), "No device. `farm agent --join URL` on another machine adds its own."),
    )


def _row(device: Device) -> tuple[object, ...]:
    facts = device.facts
    return (
        f"{device.id} (virtual)" if facts.virtual else device.id,
        output.state(device.state),
        facts.platform,
        facts.device_model,
        facts.soc,
        facts.cpu_count,
        output.size(facts.memory_bytes),
        ", ".join(facts.runtimes),
    )
