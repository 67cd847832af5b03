"""Rows of Perfetto's ``android.power`` data source, ``ts | name | value``: battery counters and rails without root."""

from __future__ import annotations

import re
from typing import NamedTuple

from agents.android.parsers.absent import Absent, lines, shown

_ROW = re.compile(r"([0-9]{1,19}) \| ([A-Za-z0-9_.\-]+) \| (-?[0-9]{1,18})", re.ASCII)


class Row(NamedTuple):
    """``at_seconds``: of the boot clock, which ``/proc/uptime`` shows too. ``value``: in the unit that the name ends
    with (``batt.current_ua``, ``batt.charge_uah``, ``power.rails.*`` in uWs)."""

    at_seconds: float
    name: str
    value: int


def rows(text: str) -> tuple[Row, ...] | Absent:
    """A row that makes no sense spoils them all: a counter that lacks a step would tell another slope."""
    found = []
    for line in filter(None, (line.strip() for line in lines(text))):
        match = _ROW.fullmatch(line)
        if match is None:
            return Absent(f"android.power: {shown(line)} is no row")
        found.append(Row(int(match[1]) / 1e9, match[2], int(match[3])))
    return tuple(found) or Absent("android.power: nothing was printed")
