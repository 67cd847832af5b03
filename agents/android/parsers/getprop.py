"""``getprop``: system properties, one ``[name]: [value]`` each. A value may span lines."""

from __future__ import annotations

import re

from agents.android.parsers.absent import Absent, refusal, shown

_PROPERTY = re.compile(r"^\[([^\]\n]+)\]: \[(.*?)\]$", re.MULTILINE | re.DOTALL)


def parse(text: str) -> dict[str, str] | Absent:
    """All properties; of a name that comes twice the last value, which is what the phone's own lookup gives."""
    found = dict(_PROPERTY.findall(text.replace("\r\n", "\n")))
    if not found:
        return Absent(f"getprop: {refusal(text) or f'{shown(text)} holds no property'}")
    return found
