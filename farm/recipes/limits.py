"""Runs a command under limits on time and memory, and leaves nothing of it behind: its whole process tree ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

LOOK_EVERY_SECONDS = 0.2
NICENESS = 10  # as of the nice command: what runs here takes long, who answers people and who measures goes first
_END_SECONDS = 10.0


@dataclass(frozen=True)
class Ended:
    """``returncode`` as subprocess gives it: negative for a signal. ``stopped_by``: the limit that we enforced."""

    returncode: int
    seconds: float
    peak_rss_bytes: int
    stopped_by: Literal["time", "memory"] | None


def run(
    command: Sequence[str],
    *,
    environment: dict[str, str],
    folder: Path,
    log: Path,
    timeout_seconds: float,
    memory_bytes: int,
    looking: Callable[[], None] = lambda: None,
) -> Ended:
    """Run to the end or to a limit; ``memory_bytes`` counts resident memory of the whole tree.

    ``looking`` is called at every look at the child, some five times a second. The child leads a session of its own, at
    low priority; output goes to ``log``. Also when interrupted, the tree is killed first.
    """
    started = time.monotonic()
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    tree = _Tree(child.pid)
    peak, stopped_by = 0, None
    try:
        # It has no threads yet; all that come have this priority.
        os.setpriority(os.PRIO_PROCESS, child.pid, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
        while child.poll() is None and stopped_by is None:
            resident = tree.look()
            looking()
            peak = max(peak, resident)
            if resident > memory_bytes:
                stopped_by = "memory"
            elif time.monotonic() - started > timeout_seconds:
                stopped_by = "time"
            else:
                _wait(child, LOOK_EVERY_SECONDS)
    finally:
        tree.kill()
        child.wait(_END_SECONDS)
    return Ended(child.returncode, time.monotonic() - started, peak, stopped_by)  # type: ignore[arg-type]


def _wait(child: subprocess.Popen[bytes], seconds: float) -> None:
    """Until it ends, at most so long. ``Popen.wait`` would look again and again, up to 50 ms late."""
    descriptor = os.pidfd_open(child.pid)
    try:
        select.select([descriptor], [], [], seconds)
    finally:
        os.close(descriptor)


class _Tree:
    """A process and everything it ever started, also what has lost its parent since."""

    def __init__(self, pid: int) -> None:
        self._seen: dict[int, psutil.Process] = {}
        try:
            self._root: psutil.Process | None = psutil.Process(pid)
        except psutil.NoSuchProcess:
            self._root = None

    def look(self) -> int:
        """Bytes resident now; remembers who is there."""
        if self._root is None:
            return 0
        try:
            present = [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return 0
        self._seen.update((process.pid, process) for process in present)
        return sum(_resident(process) for process in present)

    def kill(self) -> None:
        """End them all, the root last: orphans are re-parented to it (see sandbox) and stay in view until then.

        It is stopped first, so that it starts nothing anew."""
        if self._root is not None:
            _signal(self._root, signal.SIGSTOP)
        deadline = time.monotonic() + _END_SECONDS
        while time.monotonic() < deadline:
            self.look()
            living = [process for process in self._seen.values() if process != self._root and _alive(process)]
            for process in living:
                _signal(process, signal.SIGKILL)
            if not living:
                break
            psutil.wait_procs(living, timeout=0.5)
        if self._root is not None:
            _signal(self._root, signal.SIGKILL)


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
