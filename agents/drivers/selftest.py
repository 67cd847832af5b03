"""Whether this machine is fit to measure: a fresh interpreter computes what is known, and there is room to work."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import psutil

from agents import command
from farm.errors import DeviceError, InfrastructureError

# Less than this and the next model may be the one that does not fit: a mobile model with its inputs and the record of
# a measurement on disk, the harness with a runtime in memory.
MIN_FREE_DISK_BYTES = 512 * 2**20
MIN_FREE_MEMORY_BYTES = 256 * 2**20

# The sum of all elements of the square of a matrix; small integers, so that floating point is exact.
PROGRAM = """
import numpy as np
a = (np.arange(128 * 128, dtype=np.float64) % 7).reshape(128, 128)
print(int((a @ a).sum()))
"""
ANSWER = "18870034"


async def run(folder: Path) -> str:
    """What was found good. ``folder``: on the disk that must have room. Raises DeviceError, InfrastructureError."""
    disk_bytes = _free_disk_bytes(folder)
    memory_bytes = psutil.virtual_memory().available
    if disk_bytes < MIN_FREE_DISK_BYTES:
        raise InfrastructureError(
            f"{disk_bytes / 2**20:.0f} MiB are free under {folder}, {MIN_FREE_DISK_BYTES / 2**20:.0f} are needed.",
            remedy="Free space there.",
        )
    if memory_bytes < MIN_FREE_MEMORY_BYTES:
        raise InfrastructureError(
            f"{memory_bytes / 2**20:.0f} MiB of memory are free, {MIN_FREE_MEMORY_BYTES / 2**20:.0f} are needed.",
            remedy="End what else runs on the machine.",
        )
    seconds = await _compute()
    gib = f"{disk_bytes / 2**30:.1f} GiB of disk and {memory_bytes / 2**30:.1f} GiB of memory free"
    return f"ran arithmetic in {seconds:.2f} s; {gib}"


def _free_disk_bytes(folder: Path) -> int:
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free


async def _compute() -> float:
    """Seconds of a new process, from its start to its end; the agent's time-out cancels it."""
    environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    began_seconds = time.monotonic()
    try:
        outcome = await command.run([sys.executable, "-I", "-c", PROGRAM], environment, timeout_seconds=None)
    except OSError as error:
        raise InfrastructureError(
            f"No process could be started: {error}.", remedy="Check memory and process limits of the agent."
        ) from error
    seconds = time.monotonic() - began_seconds
    if outcome.exit_code != 0:
        raise InfrastructureError(
            f"A new interpreter ended with exit code {outcome.exit_code}: {outcome.output}",
            remedy="Check the agent's Python environment.",
        )
    if outcome.output != ANSWER:
        raise DeviceError(
            f"The machine computes wrongly: {outcome.output[:100]} in place of {ANSWER}.",
            remedy="Take it out of service: look at its memory and its BLAS library.",
        )
    return seconds
