"""Memory: the phone's (``/proc/meminfo``) and a process's (``smaps_rollup``, ``dumpsys meminfo PID``).

PSS, swapped PSS and RSS are three things and kept apart; ``dumpsys meminfo`` prints a TOTAL PSS that holds the swapped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from agents.android.parsers.absent import Absent, refusal, shown

_KIBIBYTES = r"[ \t]*([0-9]{1,15})"


@dataclass(frozen=True)
class ProcessMemory:
    """``swap_pss_bytes`` is None where the kernel or the Android version does not tell."""

    pss_bytes: int
    rss_bytes: int
    swap_pss_bytes: int | None


def total_bytes(text: str) -> int | Absent:
    """``MemTotal`` of ``/proc/meminfo``."""
    value = _bytes(text, r"^MemTotal:" + _KIBIBYTES + r" kB\s*$")
    return value if value else Absent(f"/proc/meminfo: {refusal(text) or f'{shown(text)} has no MemTotal'}")


def rollup(text: str) -> ProcessMemory | Absent:
    """``/proc/PID/smaps_rollup`` (proc(5), Linux 4.14 and later)."""
    pss, rss = (_bytes(text, rf"^{name}:{_KIBIBYTES} kB\s*$") for name in ("Pss", "Rss"))
    if pss is None or rss is None:
        return Absent(f"smaps_rollup: {refusal(text) or f'{shown(text)} has no Pss and Rss'}")
    return ProcessMemory(pss, rss, _bytes(text, rf"^SwapPss:{_KIBIBYTES} kB\s*$"))


def dumped(text: str) -> ProcessMemory | Absent:
    """``dumpsys meminfo PID``, in its form since Android 10 with all three totals in one line."""
    whole, rss, swap = (_bytes(text, rf"\bTOTAL {name}:{_KIBIBYTES}(?![0-9])") for name in ("PSS", "RSS", "SWAP PSS"))
    if whole is None or rss is None or swap is None or swap > whole:
        return Absent(f"dumpsys meminfo: {refusal(text) or f'{shown(text)} has no totals of PSS, RSS and swap'}")
    return ProcessMemory(whole - swap, rss, swap)


def _bytes(text: str, pattern: str) -> int | None:
    found = re.search(pattern, text, re.MULTILINE | re.ASCII)
    return int(found[1]) * 1024 if found else None
