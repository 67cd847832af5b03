"""The harness's own source, as files of a layer."""

from __future__ import annotations

from pathlib import Path

import agents
from agents.phone_runtime.archive import File

ROOT = Path(agents.__file__).parents[1]


def files(site: str = "site") -> dict[str, File]:
    """``agents`` with nothing in it but the harness."""
    sources = [ROOT / "agents" / "__init__.py", *(ROOT / "agents" / "harness").rglob("*.py")]
    return {f"{site}/{source.relative_to(ROOT).as_posix()}": File.of_path(source) for source in sources}
