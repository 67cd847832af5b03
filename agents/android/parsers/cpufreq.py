"""Clusters: CPUs that share a highest frequency. Read, never assumed: the folklore mask f0 is wrong on most phones."""

from __future__ import annotations

import re

from agents.android.parsers.absent import Absent, lines, refusal, shown
from farm.types import CpuCluster

# Prints what ``clusters`` reads.
COMMAND = (
    "for cpu in /sys/devices/system/cpu/cpu[0-9]*; do "
    'echo "${cpu##*/} $(cat "$cpu/cpufreq/cpuinfo_max_freq" 2>&1)"; done'
)
_LINE = re.compile(r"cpu([0-9]{1,4}) ([0-9]{1,12})", re.ASCII)


def clusters(text: str) -> tuple[CpuCluster, ...] | Absent:
    """From lines ``cpu7 3360000`` (kHz of ``cpuinfo_max_freq``), the slowest cluster first. One CPU that does not tell
    leaves all of them unknown: a cluster that lacks one would be pinned to wrongly."""
    fastest_hertz: dict[int, int] = {}
    for line in filter(None, (line.strip() for line in lines(text))):
        found = _LINE.fullmatch(line)
        if found is None or int(found[2]) == 0:
            return Absent(f"cpuinfo_max_freq: {refusal(line) or f'{shown(line)} is no frequency'}")
        if int(found[1]) in fastest_hertz:
            return Absent(f"cpuinfo_max_freq: cpu{found[1]} is there twice")
        fastest_hertz[int(found[1])] = int(found[2]) * 1000
    if not fastest_hertz:
        return Absent("cpuinfo_max_freq: nothing was printed")
    return tuple(
        CpuCluster(cpus=tuple(sorted(cpu for cpu, its in fastest_hertz.items() if its == hertz)), max_hertz=hertz)
        for hertz in sorted(set(fastest_hertz.values()))
    )
