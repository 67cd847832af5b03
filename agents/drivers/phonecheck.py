"""Whether a phone is fit to measure, and the steps that may mend one that is not."""

from __future__ import annotations

import asyncio
import shlex

from agents.android import scripts
from agents.android.adb import Refused, Server
from agents.android.handset import Handset
from agents.android.link import AdbPhone
from agents.android.phone import LAYERS
from agents.drivers import selftest
from agents.phone_runtime.bundle import BASE, HARNESS, Bundle
from farm.errors import DeviceError, DeviceTimeout, InfrastructureError, LinkLost, OutputCut
from farm.types import RecoveryStep

MIN_FREE_BYTES = 512 * 2**20  # room for a model with its inputs, and the record of a measurement
_SECONDS = 30.0
_POLL_SECONDS = 1.0

# Where there is no Python on it yet.
_SHELL_PROGRAM = "i=0; s=0; while [ $i -lt 2000 ]; do s=$((s + i * i)); i=$((i + 1)); done; echo $s"
_SHELL_ANSWER = "2664667000"


async def run(handset: Handset, bundle: Bundle | None) -> str:
    """What was found good. Under the phone's lock. Raises DeviceError, InfrastructureError."""
    phone = handset.here()
    text = await phone.run(scripts.prepare(handset.attempts, {}), what="Looking at it", timeout_seconds=_SECONDS)
    ready = scripts.prepared(text, ())
    if ready.free_bytes is not None and ready.free_bytes < MIN_FREE_BYTES:
        raise DeviceError(
            f"{handset.id} has {ready.free_bytes / 2**20:.0f} MiB free, {MIN_FREE_BYTES / 2**20:.0f} are needed.",
            remedy="Free storage on the phone.",
        )
    base = next((layer for layer in bundle.layers if layer.name == BASE), None) if bundle else None
    if bundle and base and base.sha256 in ready.layers and bundle.runtimes:
        folders = {layer.name: f"{LAYERS}/{layer.sha256}" for layer in bundle.layers} | {HARNESS: LAYERS}
        words, environment = bundle.command(folders, bundle.runtimes[0], ["-c", selftest.PROGRAM], work_folder=LAYERS)
        command = shlex.join(["env", "-i", *(f"{name}={value}" for name, value in environment.items()), *words])
        what, answer = "its phone runtime", selftest.ANSWER
    else:
        what, command, answer = "its shell", _SHELL_PROGRAM, _SHELL_ANSWER
    output = await phone.shell(command, timeout_seconds=_SECONDS)
    if output.exit_code or output.stdout.strip() != answer:
        said = (output.stderr.strip() or output.stdout.strip())[-300:]
        raise DeviceError(
            f"Arithmetic in {what} on {handset.id} gave {said!r} (exit code {output.exit_code}), not {answer}.",
            remedy="Reboot it; if that does not help, remove /data/local/tmp/torchfarm there.",
        )
    room = "" if ready.free_bytes is None else f"; {ready.free_bytes / 2**30:.1f} GiB of storage free"
    return f"ran arithmetic in {what} in {output.seconds:.2f} s{room}"


async def recover(handset: Handset, server: Server, serial: str, step: RecoveryStep) -> None:
    """Take the step and wait until Android is up. Cancelled by the agent's time-out. Raises InfrastructureError."""
    if step == "reboot":
        await AdbPhone(server, serial).reboot()
        while await _booted(server, serial):  # noqa: ASYNC110 (it goes on for a while; only the phone knows)
            await asyncio.sleep(_POLL_SECONDS / 5)
    elif step == "reconnect":
        await _reconnect(server, serial)
        await asyncio.sleep(_POLL_SECONDS)
    while not await _booted(server, serial):  # noqa: ASYNC110
        await asyncio.sleep(_POLL_SECONDS)
    await handset.back()


async def _reconnect(server: Server, serial: str) -> None:
    try:
        if ":" in serial:
            await server.disconnect(serial)
            await server.connect(serial)
        else:
            await server.ask(f"host-serial:{serial}:reconnect")
    except Refused as refusal:
        raise InfrastructureError(f"{serial} cannot be reconnected: {refusal}.", remedy="See its cable.") from refusal


async def _booted(server: Server, serial: str) -> bool:
    try:
        output = await AdbPhone(server, serial).shell("getprop sys.boot_completed")
    except (LinkLost, DeviceTimeout, OutputCut):
        return False
    return output.stdout.strip() == "1"
