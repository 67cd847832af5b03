"""What stands for a value that could not be read, and how a command says no. Null is not zero.

A phone answers a denied file with text like any other; these parsers never take it for an empty or zero reading.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_SHOWN = 100  # characters of the phone's own words in a reason

# What cat, dumpsys, toybox, mksh and service managers say instead of an answer.
_REFUSALS = re.compile(
    r"permission den(?:ied|ial)|no such file or directory|inaccessible or not found|can't (?:open|find service)|"
    r"cannot open|not found$|operation not permitted|i/o error|invalid argument|no data available|is a directory",
    re.IGNORECASE | re.MULTILINE,
)


@dataclass(frozen=True)
class Absent:
    """No value, and ``why``: for people, without a full stop."""

    why: str


def shown(text: str) -> str:
    """The beginning of a phone's words, on one line, for a reason."""
    line = " ".join(text.split())
    return repr(line if len(line) <= _SHOWN else line[:_SHOWN] + "…")


def refusal(text: str) -> str | None:
    """Why a command gave nothing, where its output says so; None where that is an answer."""
    if not text.strip():
        return "nothing was printed"
    found = _REFUSALS.search(text)
    if found is None:
        return None
    start = text.rfind("\n", 0, found.start()) + 1
    end = text.find("\n", found.end())
    return " ".join(text[start : end if end >= 0 else None].split())[-_SHOWN:]


def number(text: str) -> float | Absent:
    """A finite decimal number, as kernels and services print it: no underscores, no ``nan``, no ``1e3``."""
    word = text.strip()
    if not re.fullmatch(r"[+-]?[0-9]{1,20}(?:\.[0-9]{1,20})?", word, re.ASCII):
        return Absent(refusal(text) or f"{shown(text)} is no number")
    value = float(word)
    return value if math.isfinite(value) else Absent(f"{shown(text)} is no number")


def integer(text: str) -> int | Absent:
    """A whole number, also where a file holds it with a line break after it."""
    word = text.strip()
    if not re.fullmatch(r"[+-]?[0-9]{1,20}", word, re.ASCII):
        return Absent(refusal(text) or f"{shown(text)} is no whole number")
    return int(word)


def lines(text: str) -> list[str]:
    """Lines as a phone means them: only line feeds end one, and a terminal's carriage returns are no part of it."""
    return [line.rstrip("\r") for line in text.split("\n")]
