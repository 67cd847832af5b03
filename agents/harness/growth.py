"""Memory in use while inferences go on, to see whether a program leaks. After the measured phase, never within it."""

from __future__ import annotations

import gc
import re
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from agents.harness import memory

ROLLUP = Path("/proc/self/smaps_rollup")
MOST_INFERENCES = 1000
LEAST_INFERENCES = 100  # allocators take memory in steps of 100 kB and more: fewer show steps, not growth
POINTS = 50


class Source(NamedTuple):
    """``read``: bytes now."""

    name: str
    read: Callable[[], int | None]


def source(rollup: Path = ROLLUP) -> Source | None:
    """The kernel's exact count of memory that no file backs (Linux 4.14), which is what leaks; else the resident set,
    which it keeps less exactly and which grows while mapped files are read. None where there is neither."""
    for found in (
        Source(f"Anonymous in {rollup}", lambda: _anonymous(rollup)),
        Source(f"VmRSS in {memory.STATUS}", lambda: memory.resident("VmRSS")),
    ):
        if found.read() is not None:
            return found
    return None


def _anonymous(rollup: Path) -> int | None:
    try:
        found = re.search(rb"^Anonymous:\s+(\d+) kB$", rollup.read_bytes(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def record(run: Callable[[], Any], median_seconds: float, max_seconds: float, where: Source | None) -> dict[str, Any]:
    """Fields of the ``memory_series`` record: the series, or ``absent`` with the reason."""
    if where is None:
        return {"absent": f"neither {ROLLUP} nor {memory.STATUS} tells memory in use on this system"}
    if max_seconds == 0:
        return {"absent": "it was not asked for: the protocol's growth_seconds is 0"}
    affordable = int(max_seconds / median_seconds)
    if affordable < LEAST_INFERENCES:
        needed = LEAST_INFERENCES * median_seconds
        return {
            "absent": f"{LEAST_INFERENCES} inferences would take {needed:.3g} s, and the protocol's growth_seconds "
            f"is {max_seconds:g}"
        }
    inferences, readings = _series(run, min(MOST_INFERENCES, affordable), max_seconds, where.read)
    if not inferences or inferences[-1] < LEAST_INFERENCES:
        return {
            "absent": f"only {inferences[-1] if inferences else 0} inferences came about in growth_seconds "
            f"({max_seconds:g}), and {LEAST_INFERENCES} are needed"
        }
    return {"source": where.name, "inferences": inferences, "memory_bytes": readings}


def _series(
    run: Callable[[], Any], count: int, max_seconds: float, read: Callable[[], int | None]
) -> tuple[list[int], list[int]]:
    """What is kept here is allocated beforehand, and Python's own garbage is collected before each reading: neither
    is the program's."""
    stride = max(1, count // POINTS)
    done, readings = array("q", [0]) * POINTS, array("q", [0]) * POINTS
    points, deadline = 0, time.monotonic() + max_seconds
    gc.collect()
    gc.freeze()  # what is there stays: only what comes has to be looked through
    try:
        while points < POINTS and time.monotonic() < deadline:
            for _ in range(stride):
                run()
            gc.collect()
            value = read()
            if value is None:
                break
            done[points], readings[points] = (points + 1) * stride, value
            points += 1
    finally:
        gc.unfreeze()
    return done[:points].tolist(), readings[:points].tolist()
