"""Resident memory of this process, as Linux and Android report it."""

from __future__ import annotations

import re
from pathlib import Path

STATUS = Path("/proc/self/status")


def resident(field: str, status: Path = STATUS) -> int | None:
    """``VmRSS`` (now) or ``VmHWM`` (the peak since the process started) in bytes; None where it cannot be read.

    Not ``ru_maxrss``: that one is inherited from the parent over fork and exec.
    """
    try:
        found = re.search(rf"^{field}:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def record(baseline_bytes: int | None, peak_bytes: int | None, **after_phases: int | None) -> dict[str, int | str]:
    """Fields of the ``memory`` record: all figures, or the reason why there are none. ``after_phases``: by name."""
    found = {"baseline_bytes": baseline_bytes, "peak_bytes": peak_bytes, **after_phases}
    told = {name: value for name, value in found.items() if value is not None}
    if len(told) < len(found):
        return {"absent": f"{STATUS} shows no VmRSS and VmHWM on this system"}
    return {**told}
