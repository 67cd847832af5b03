"""What the documentation promises must be so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from farm.analysis.rules import RULES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_reason_of_a_verdict_is_explained_with_its_level() -> None:
    rows = re.findall(
        r"^\| `([a-z-]+)` \| (invalid|suspect|trusted) \|", (ROOT / "docs" / "measuring.md").read_text(), re.MULTILINE
    )
    assert dict(rows) == {rule.code: str(rule.level) for rule in RULES.values()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
