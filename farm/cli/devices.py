"""``farm devices``: what can measure, how it is, and who has it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from farm.cli import output
from farm.cli.output import JsonFlag
from farm.cli.session import connect
from farm.config import Avd, load
from farm.errors import UserError
from farm.types import (
    Device,
    DeviceCheck,
    DeviceDetails,
    DeviceFacts,
    DeviceHealth,
    DeviceReadings,
    DeviceState,
    Reservation,
)

if TYPE_CHECKING:
    from agents.android.adb import Server

app = typer.Typer(help="Devices of the farm.", invoke_without_command=True)

SelectorOption = Annotated[
    str | None, typer.Option("--selector", "-s", help="Only these, e.g. 'platform=linux,memory_gib>=8'.")
]
ReasonOption = Annotated[str, typer.Option(help="For the others who look at the device.")]

_DURATION = re.compile(r"(?=\d)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


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
    """Everything known of one device: what it is, how it is, who has it, its last health checks."""
    with connect(context) as client:
        found = client.device_details(device)
    output.emit(found, as_json, _details(found))


def _order(kind: Literal["drain", "maintain", "resume", "check", "loop"], summary: str) -> Callable[..., None]:
    def order(context: typer.Context, device: str, reason: ReasonOption = "", as_json: JsonFlag = False) -> None:
        with connect(context) as client:
            ordered = client.order_device(device, kind, reason)
        output.emit(ordered, as_json, f"Ordered: {kind} {device}. `farm devices show {device}` tells how it goes.")

    return app.command(kind, help=f"{summary} For admins.")(order)


_order("drain", "Let the job that runs there end, then take the device out of service.")
_order("maintain", "Take the device out of service now: the job that runs there is started again elsewhere or later.")
_order("resume", "Put the device back into service, once it passes a health check.")
_order("check", "Check the device's health once it is free; one that was given up gets its chance.")
_order("loop", "Check the device's health again and again, and run no job there, until `resume`.")


@app.command()
def reserve(
    context: typer.Context,
    device: str,
    *,
    duration: Annotated[str, typer.Option("--for", help="How long, e.g. 30m, 1h, 1h30m, 90s.")],
    reason: ReasonOption = "",
    as_json: JsonFlag = False,
) -> None:
    """Have a device for yourself for a while: only your jobs are started there. Again: extend it."""
    seconds = _seconds(duration)
    with connect(context) as client:
        made = client.reserve(device, seconds, reason)
    output.emit(made, as_json, f"{device} is yours until {output.local_time(made.until)}.")


@app.command()
def release(context: typer.Context, device: str, as_json: JsonFlag = False) -> None:
    """Give a reserved device back before its time."""
    with connect(context) as client:
        client.release(device)
    output.emit({"released": device}, as_json, f"{device} is no longer reserved.")


@app.command("add-emulator")
def add_emulator(
    avd: Annotated[str, typer.Option(help="Of this machine's Android SDK; `emulator -list-avds` lists them.")],
    snapshot: Annotated[
        str | None, typer.Option(help="What it starts from and goes back to after a run. Default: started cold, wiped.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Have this machine's agent run an Android emulator as a device (docs/emulators.md)."""
    from agents.android import avds
    from agents.android.emulator import Emulators, find_sdk

    settings = load()
    try:
        wanted = Avd(name=avd, snapshot=snapshot)
    except ValueError as error:
        raise UserError(f"It cannot be added: {error}.", remedy="Names are letters, digits, . _ and -") from error
    asyncio.run(Emulators(find_sdk(), settings.state_dir).check(wanted))
    avds.add(settings.state_dir, wanted)
    output.emit(wanted, as_json, f"{avd} is added. The agent on this machine offers it once restarted.")


Address = Annotated[str, typer.Argument(metavar="HOST:PORT", help="As the phone's wireless debugging shows it.")]
ServerOption = Annotated[
    str | None, typer.Option(help="The adb server, HOST:PORT; default: the first of agent_adb_servers.")
]


@app.command("connect")
def connect_phone(
    address: Address,
    *,
    pair: Annotated[
        str | None, typer.Option(metavar="CODE", help="Pair first, with the code and the port of the phone's dialog.")
    ] = None,
    server: ServerOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Connect a phone on the network to the adb server of this machine, which is an agent's. It needs no farm."""

    async def connected(to: Server) -> str:
        await to.ensure()
        if pair is not None:
            return await to.pair(address, pair)
        await to.connect(address)
        return f"{address} is connected; `farm devices` shows it in a moment."

    said = _through_adb(connected, server)
    output.emit({"address": address, "said": said}, as_json, said)


@app.command("disconnect")
def disconnect_phone(address: Address, *, server: ServerOption = None, as_json: JsonFlag = False) -> None:
    """Let go of a phone on the network. It needs no farm."""

    async def disconnected(of: Server) -> str:
        await of.disconnect(address)
        return f"{address} is no longer connected."

    said = _through_adb(disconnected, server)
    output.emit({"address": address, "said": said}, as_json, said)


def _through_adb(work: Callable[[Server], Awaitable[str]], address: str | None) -> str:
    from agents.android.adb import Server

    host, _, port = (address or load().agent_adb_servers[0]).rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"--server {address} is no address.", remedy="Give HOST:PORT, e.g. 127.0.0.1:5037.")

    async def run() -> str:
        return await work(Server(host, int(port)))

    return asyncio.run(run())


def _seconds(duration: str) -> int:
    found = _DURATION.fullmatch(duration.strip().replace(" ", ""))
    if found is None:
        raise UserError(f"--for {duration} is no duration.", remedy="Write it like 30m, 1h, 1h30m or 90s.")
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _list(context: typer.Context, selector: str | None, as_json: bool) -> None:
    with connect(context) as client:
        found = client.devices(selector)
        reserved = {} if as_json else {one.device_id: one for one in client.reservations()}
    columns = ("device", "state", "platform", "model", "soc", "cpus", "memory", "runtimes", "remarks")
    rows = (_row(device, reserved.get(device.id)) for device in found)
    output.emit(
        found,
        as_json,
        output.table(columns, rows, "No device. `farm agent --join URL` on another machine adds its own."),
    )


def _row(device: Device, reservation: Reservation | None) -> Sequence[object]:
    facts = device.facts
    return (
        f"{device.id} (virtual)" if facts.virtual else device.id,
        _condition(device),
        facts.os_version if facts.platform == "android" else facts.platform,
        facts.device_model,
        facts.soc,
        _cpus(facts),
        output.size(facts.memory_bytes) if facts.memory_bytes else None,
        ", ".join(facts.runtimes),
        "; ".join(_remarks(device, reservation)),
    )


def _cpus(facts: DeviceFacts) -> str | None:
    """With clusters from the slowest to the fastest: 8 (3+4+1)."""
    if len(facts.clusters) < 2:
        return str(facts.cpu_count) if facts.cpu_count else None
    return f"{facts.cpu_count} ({'+'.join(str(len(cluster.cpus)) for cluster in facts.clusters)})"


def _readings(readings: DeviceReadings | None) -> str | None:
    """As its agent last saw it: battery 84 % at 27.0 °C, charging; thermal status 0."""
    if readings is None:
        return None
    battery = [
        f"{readings.battery_ratio:.0%}" if readings.battery_ratio is not None else "",
        f"at {readings.battery_celsius:.1f} °C" if readings.battery_celsius is not None else "",
    ]
    parts = [f"battery {' '.join(filter(None, battery))}" if any(battery) else ""]
    if readings.powered is not None:
        parts.append("powered" if readings.powered else "on battery")
    if readings.thermal_status is not None:
        parts.append(f"thermal status {readings.thermal_status}")
    return ", ".join(filter(None, parts)) or None


def _condition(device: Device) -> Text:
    """Its state, and its health where that is not good."""
    shown = output.state(device.state)
    if device.health is not DeviceHealth.GOOD:
        shown = Text.assemble(shown, ", ", output.state(device.health))
    return shown


def _remarks(device: Device, reservation: Reservation | None) -> list[str]:
    """What keeps jobs from being started there, beside its state and health; else how a phone is."""
    remarks = []
    if device.maintenance is not None:
        what = "drains" if device.state is DeviceState.LEASED else "maintenance"
        remarks.append(f"{what}: {device.maintenance}" if device.maintenance else what)
    if reservation:
        remarks.append(_reserved(reservation))
    if device.blocked:
        remarks.append(device.blocked)
    elif seen := _readings(device.readings):
        remarks.append(seen)
    return remarks


def _reserved(reservation: Reservation) -> str:
    reason = f" ({reservation.reason})" if reservation.reason else ""
    return f"reserved by {reservation.user} until {output.local_time(reservation.until)}{reason}"


def _noise(device: Device) -> str | None:
    if device.noise_ratio is None:
        return None
    return f"latency of one artifact differs by up to {100 * device.noise_ratio:.2g} % from night to night"


def _details(found: DeviceDetails) -> RenderableType:
    device, holder = found.device, found.holder
    facts = device.facts
    why = f": {device.health_reason}" if device.health_reason else ""
    pairs: list[tuple[str, object]] = [
        ("id", device.id),
        ("state", output.state(device.state)),
        ("health", Text.assemble(output.state(device.health), why)),
        ("failures in a row", device.failures or None),
        ("maintenance", device.maintenance),
        ("blocked", device.blocked),
        ("reservation", _reserved(found.reservation) if found.reservation else None),
        ("held by", f"job {holder.job_id} since {output.local_time(holder.leased_at)}" if holder else None),
        ("agent", device.agent),
        ("host", device.host),
        ("platform", facts.platform),
        ("device_model", facts.device_model),
        ("soc", facts.soc),
        ("abi", facts.abi),
        ("os_version", facts.os_version),
        ("memory", output.size(facts.memory_bytes) if facts.memory_bytes else None),
        ("cpu_count", facts.cpu_count or None),
        ("clusters", " + ".join(f"{len(c.cpus)} × {c.max_hertz / 1e9:.2f} GHz" for c in facts.clusters) or None),
        ("last readings", _readings(device.readings)),
        ("noise", _noise(device)),
        ("accelerators", ", ".join(facts.accelerators)),
        ("runtimes", ", ".join(facts.runtimes)),
        ("native tools", ", ".join(f"{tool.name} ({', '.join(tool.accelerators)})" for tool in facts.tools)),
        ("kind", "emulator" if facts.emulator else "virtual" if facts.virtual else None),
        ("hypervisor", facts.hypervisor),
        ("labels", ", ".join(f"{key}={value}" for key, value in device.labels.items())),
        ("hooks", ", ".join(device.hooks)),
        ("recovery", ", ".join(device.recovery)),
        ("last seen", output.local_time(device.last_seen_at) if device.last_seen_at else None),
    ]
    columns = ("checked", "step", "health check", "took", "what was found")
    return Group(output.facts(pairs), "", output.table(columns, map(_check_row, found.checks), "No health check yet."))


def _check_row(check: DeviceCheck) -> Sequence[object]:
    passed = output.state("passed" if check.passed else "failed")
    return output.local_time(check.at), check.step, passed, output.seconds(check.seconds), check.detail
