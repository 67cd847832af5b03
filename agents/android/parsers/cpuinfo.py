"""``/proc/cpuinfo``: how many processors there are, and who says what the hardware is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agents.android.parsers.absent import Absent, refusal, shown


@dataclass(frozen=True)
class Cpuinfo:
    """``hardware``: the vendor's own name, which newer kernels leave out; then it is empty."""

    count: int
    hardware: str


def parse(text: str) -> Cpuinfo | Absent:
    count = len(set(re.findall(r"^processor[ \t]*:[ \t]*([0-9]{1,4})[ \t\r]*$", text, re.MULTILINE | re.ASCII)))
    if not count:
        return Absent(f"/proc/cpuinfo: {refusal(text) or f'{shown(text)} names no processor'}")
    hardware = re.search(r"^Hardware[ \t]*:[ \t]*(\S[^\r\n]*)", text, re.MULTILINE)
    return Cpuinfo(count, hardware[1].strip() if hardware else "")
