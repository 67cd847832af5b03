"""One text of many notices: each has a section of its own in a comment or a check, which a later one replaces. Pure.

Markers are HTML comments, which GitHub does not show.
"""

from __future__ import annotations

import re

_CHARACTERS = 60_000  # GitHub takes 65,536 of a comment, 65,535 of a check's summary
_LEFT_OUT = "*What did not fit here is left out.*"


def marker(topic: str) -> str:
    """By which a text of the topic is found again."""
    return f"<!-- torchfarm: {_word(topic)} -->"


def merged(text: str, topic: str, about: str, section: str) -> str:
    """``text`` ("" for a new one) with the section in place of the one with the same ``about``, or else behind the
    others. The sections that changed last stay where not all fit."""
    begin, end = f"<!-- begin: {_word(about)} -->", f"<!-- end: {_word(about)} -->"
    whole = re.compile(r"<!-- begin: (?P<about>[^>]*?) -->.*?<!-- end: (?P=about) -->", re.DOTALL)
    others = [found.group(0) for found in whole.finditer(text) if found["about"] != _word(about)]
    # Markers of its own would end the section early.
    clean = section.replace("<!--", "&lt;!--").strip()
    head = marker(topic)
    kept = f"{begin}\n{_cut(clean)}\n{end}"
    left_out = _LEFT_OUT in text
    while others and len(head) + len(kept) + sum(len(other) + 2 for other in others) + len(_LEFT_OUT) > _CHARACTERS:
        del others[0]
        left_out = True
    return "\n\n".join([head, *others, kept, *([_LEFT_OUT] if left_out else [])])


def _word(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._ -]", "-", name).replace("--", "-").strip()


def _cut(text: str) -> str:
    room = _CHARACTERS // 2
    return text if len(text) <= room else f"{text[:room]}…"
