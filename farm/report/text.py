"""Text from elsewhere inside Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from farm.analysis.figures import plain

# Whatever ends a table cell, begins markup, HTML or a mention, or links to an issue. Inside words, _ means nothing.
_SPECIAL = re.compile(r"[\\`*{}\[\]<>|#~@&!]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=http)s?:|(?<=www)\.")


def escaped(text: str) -> str:
    """As it is, on one line, in a table of GitHub's or GitLab's Markdown."""
    return _SPECIAL.sub(lambda found: "".join(f"&#{ord(char)};" for char in found[0]), " ".join(plain(text).split()))


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells are Markdown already."""
    return [f"| {' | '.join(cells)} |" for cells in (heading, ["---"] * len(heading), *rows)]
