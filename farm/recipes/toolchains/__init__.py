"""Tools that cannot live in the farm's own environment: one isolated environment each, declared as a file of pinned
requirements, made once per machine by ``farm toolchains make`` (docs/adr/0006).

To recipes a toolchain is one more tool, ``toolchain:NAME``, whose version is the hash of its declaration: it is missing
until it is made, it is part of the build key, and a machine builds with it only if it has the same one.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from farm.config import default_toolchains_dir
from farm.errors import NotFoundError

TOOL_PREFIX = "toolchain:"
DIRECTORY_VARIABLE = "FARM_TOOLCHAINS_DIR"
_DECLARED = Path(__file__).with_name("requirements")


@dataclass(frozen=True)
class Toolchain:
    """``requirements``: exact pins of everything, with hashes; nothing that is not in it is installed."""

    name: str
    requirements: Path

    @cached_property
    def key(self) -> str:
        """Of the declaration and of the Python that it is made for: another one is another environment."""
        python = f"{sys.implementation.cache_tag}-{platform.system()}-{platform.machine()}"
        return hashlib.sha256(self.requirements.read_bytes() + python.encode()).hexdigest()[:16]


def declared() -> dict[str, Toolchain]:
    return {path.stem: Toolchain(path.stem, path) for path in sorted(_DECLARED.glob("*.txt"))}


def find(name: str) -> Toolchain:
    """Raises NotFoundError."""
    known = declared()
    if name not in known:
        raise NotFoundError(f"There is no toolchain {name!r}.", remedy=f"Known here: {', '.join(known)}.")
    return known[name]


def directory() -> Path:
    """Where this machine keeps them: the setting ``toolchains_dir``, which every process of the farm passes on."""
    return Path(os.environ.get(DIRECTORY_VARIABLE) or default_toolchains_dir())


def of_tools(tools: tuple[str, ...]) -> list[Toolchain]:
    """Those among the tools of a recipe."""
    return [find(tool.removeprefix(TOOL_PREFIX)) for tool in tools if tool.startswith(TOOL_PREFIX)]
