"""On which CPUs the process may run: asked for, and read back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from agents.harness.failure import Failure

TASKS = Path("/proc/self/task")


def pin(cpus: Sequence[int]) -> None:
    """Restrict this process and the threads it will start to ``cpus``; none means leave it as it is.

    Call it before the runtime is imported: threads inherit it. Those that are there already are an emulator's, which
    runs this process. Raises Failure ``cpus-not-pinned``.
    """
    if not cpus:
        return
    try:
        for task in TASKS.iterdir():
            os.sched_setaffinity(int(task.name), cpus)
    except OSError as error:
        raise _not_pinned(cpus, f"the kernel refused: {error.strerror}") from error
    granted = os.sched_getaffinity(0)  # the kernel silently drops CPUs that a cpuset excludes
    if granted != set(cpus):
        raise _not_pinned(cpus, f"the kernel granted {_listed(granted)}")


def allowed(cpus: Sequence[int]) -> list[int]:
    """The CPUs on which any thread of this process may run now, sorted.

    Raises Failure ``cpus-not-pinned`` when the runtime moved one of its threads off the ``cpus`` asked for.
    """
    union: set[int] = set()
    for task in TASKS.iterdir():
        try:
            union |= os.sched_getaffinity(int(task.name))
        except ProcessLookupError:
            continue  # the thread ended meanwhile
    if cpus and not union <= set(cpus):
        raise _not_pinned(cpus, f"the runtime's threads may run on {_listed(union)}")
    return sorted(union)


def _not_pinned(cpus: Sequence[int], why: str) -> Failure:
    return Failure(
        "cpus-not-pinned",
        f"The measurement should run on CPUs {_listed(cpus)}, but {why}.",
        remedy="Ask for fewer threads, or give the agent these CPUs (cpuset, container limits).",
        fault="device",
    )


def _listed(cpus: Sequence[int] | set[int]) -> str:
    return ", ".join(map(str, sorted(cpus))) or "none"
