"""CPU time: how busy the machine was with other work than the measurement (proc(5), /proc/stat)."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class CpuTimes:
    """Seconds of CPU time of the whole machine since boot, over all CPUs, and when they were read."""

    at_seconds: float
    busy_seconds: float
    steal_seconds: float


def read_cpu_times(proc: Path = PROC) -> CpuTimes:
    """Raises OSError where /proc/stat is not readable, ValueError where it is not understood."""
    return parse_cpu_times((proc / "stat").read_text(), time.monotonic())


def parse_cpu_times(text: str, at_seconds: float) -> CpuTimes:
    """The ``cpu`` line: user nice system idle iowait irq softirq steal guest guest_nice, in clock ticks.

    Guest time is contained in user time. Steal is what the hypervisor gave to others.
    """
    name, *fields = text.split("\n", 1)[0].split()
    if name != "cpu" or len(fields) < 8:
        raise ValueError(f"first line of /proc/stat is no cpu line of 8 fields or more: {text[:80]!r}")
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[:8])
    return CpuTimes(
        at_seconds=at_seconds,
        busy_seconds=(user + nice + system + irq + softirq) / _TICKS_PER_SECOND,
        steal_seconds=steal / _TICKS_PER_SECOND,
    )


def read_process_seconds(pid: int, proc: Path = PROC) -> float:
    """CPU seconds of a process and of its children that have ended. Raises OSError once it is gone."""
    return parse_process_seconds((proc / str(pid) / "stat").read_text())


def parse_process_seconds(text: str) -> float:
    """utime, stime, cutime, cstime of /proc/PID/stat; the command's name may hold spaces and parentheses."""
    fields = text.rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / _TICKS_PER_SECOND
