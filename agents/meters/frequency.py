"""CPU clock frequency from cpufreq's sysfs files (kernel documentation, admin-guide/pm/cpufreq)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SYSFS = Path("/sys/devices/system/cpu")


class FrequencyUnreadable(Exception):
    """This machine does not show its clock frequency; the text says why."""


@dataclass(frozen=True)
class Frequency:
    """Of the slowest of the CPUs asked for. ``limit`` is the cap in force, ``maximum`` what the CPU can do."""

    current_hertz: float
    limit_hertz: float
    maximum_hertz: float


def read_frequency(cpus: Iterable[int], sysfs: Path = SYSFS) -> Frequency:
    """Raises FrequencyUnreadable with the reason."""
    readings = []
    for cpu in cpus:
        folder = sysfs / f"cpu{cpu}" / "cpufreq"
        if not folder.is_dir():
            raise FrequencyUnreadable(f"cpu{cpu} has no cpufreq driver (usual inside a virtual machine)")
        try:
            readings.append(
                [
                    int((folder / name).read_text()) * 1000.0
                    for name in ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq")
                ]
            )
        except (OSError, ValueError) as error:
            raise FrequencyUnreadable(f"cpufreq of cpu{cpu} cannot be read: {error}") from error
    if not readings:
        raise FrequencyUnreadable("no CPU was asked for")
    return Frequency(*(min(column) for column in zip(*readings, strict=True)))
