"""``adb devices -l``: what an adb server sees."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from agents.android.parsers.absent import Absent, lines, shown

_HEADER = "List of devices attached"
# States of two words come first; "no permissions" is followed by an explanation and a link.
_LINE = re.compile(r"(\S+)\s+(no permissions|[a-z]+)\b(.*)")


@dataclass(frozen=True)
class Listed:
    """``state``: adb's own word (device, offline, unauthorized, no permissions, ...). ``details``: product, model,
    device, transport_id, usb, as far as the server tells."""

    serial: str
    state: str
    details: Mapping[str, str]


def parse(text: str) -> tuple[Listed, ...] | Absent:
    """The chatter of a server that starts comes before the list and is left out."""
    body = [line.strip() for line in lines(text)]
    if _HEADER not in body:
        return Absent(f"adb devices: {shown(text)} is no list of devices")
    found = []
    for line in body[body.index(_HEADER) + 1 :]:
        if (match := _LINE.fullmatch(line)) and not line.startswith("*"):
            found.append(Listed(match[1], match[2], dict(re.findall(r"(?<!\S)([a-z_]+):(\S+)", match[3]))))
    return tuple(found)
