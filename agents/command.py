"""A command of somebody else's as a process of its own, with a time limit, that leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

_KILL_SECONDS = 5.0  # a process that was killed and is not gone by then waits for a device; the kernel ends it later
_OUTPUT_BYTES = 2000


@dataclass(frozen=True)
class Outcome:
    """``output``: the end of what it wrote to stdout and stderr."""

    exit_code: int
    output: str


async def run(command: Sequence[str], environment: Mapping[str, str], timeout_seconds: float | None) -> Outcome:
    """Run it without a shell. At the time-out and when this call is cancelled it is killed with all its group.

    Raises OSError when it cannot be started, TimeoutError. What it leaves in the background when it ends by itself
    goes on: an adb server, say.
    """
    with tempfile.TemporaryFile() as output:
        process = _start(command, environment, output)
        try:
            async with asyncio.timeout(timeout_seconds):
                await ended(process.pid)
        except BaseException:
            # Not reaped yet, so that the number is still its own.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_KILL_SECONDS)
            raise
        exit_code = process.wait()
        output.seek(max(0, output.seek(0, os.SEEK_END) - _OUTPUT_BYTES))
        return Outcome(exit_code, output.read().decode(errors="replace").strip())


def _start(command: Sequence[str], environment: Mapping[str, str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    # With a pidfd, as the host driver's harness: works in any event loop, also outside the main thread.
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        start_new_session=True,
    )


async def ended(pid: int) -> None:
    """Until the process has ended, whoever its parent is. It is not reaped."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    exited = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pidfd, exited.set)
    try:
        await exited.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
