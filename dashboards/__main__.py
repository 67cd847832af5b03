"""``python -m dashboards``: write the JSON of every dashboard anew."""

from __future__ import annotations

from pathlib import Path

from dashboards.pages import PAGES
from dashboards.parts import to_json

FOLDER = Path(__file__).parent / "json"

if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / f"{name}.json").write_text(to_json(page))
