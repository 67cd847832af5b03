"""On-device power monitor rails of Pixel phones (kernel driver odpm, ``energy_value``): joules by rail since boot."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from agents.android.parsers.absent import Absent, lines, refusal, shown

_TIME = re.compile(r"t=([0-9]{1,18})", re.ASCII)
_RAIL = re.compile(r"CH[0-9]{1,3}\(T=([0-9]{1,18})\)\[([^\]]+)\], ([0-9]{1,18})", re.ASCII)


@dataclass(frozen=True)
class Rails:
    """``joules`` by the rail's name, since boot; only differences mean anything. ``at_seconds``: since boot."""

    at_seconds: float
    joules: Mapping[str, float]


def parse(text: str) -> Rails | Absent:
    """One device's file. Where a line makes no sense there are no rails: their sum would lack one."""
    at_seconds: float | None = None
    joules: dict[str, float] = {}
    for line in filter(None, (line.strip() for line in lines(text))):
        if found := _TIME.fullmatch(line):
            at_seconds = int(found[1]) / 1000
        elif found := _RAIL.fullmatch(line):
            if found[2] in joules:
                return Absent(f"energy_value: the rail {shown(found[2])} is there twice")
            joules[found[2]] = int(found[3]) / 1e6
        else:
            return Absent(f"energy_value: {refusal(text) or f'{shown(line)} is no rail'}")
    if at_seconds is None or not joules:
        return Absent(f"energy_value: {refusal(text) or 'there are no rails'}")
    return Rails(at_seconds, joules)


def watts(first: Rails, last: Rails) -> float | Absent:
    """Mean power of all rails between two readings of one device."""
    if missing := sorted(first.joules.keys() ^ last.joules.keys()):
        return Absent(f"energy_value: the rail {missing[0]} is in one reading only")
    seconds = last.at_seconds - first.at_seconds
    spent = {name: last.joules[name] - first.joules[name] for name in first.joules}
    if seconds <= 0 or min(spent.values()) < 0:
        return Absent("energy_value: it does not go forward (the phone was restarted?)")
    return sum(spent.values()) / seconds
