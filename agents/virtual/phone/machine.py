"""What adbd needs of the phone it runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Running(Protocol):
    """A process of the phone's shell. ``stderr`` is None with a terminal, and where it was merged into ``stdout``."""

    stdin: asyncio.StreamWriter | None
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader | None

    async def wait(self) -> int:
        """Its exit code; 128 + signal when it was killed."""

    def kill(self) -> None:
        """End it and all its children: SIGHUP first, as adbd does, then SIGKILL."""


class Machine(Protocol):
    serial: str
    properties: Mapping[str, str]  # of getprop

    async def spawn(self, command: str | None, *, terminal: bool, merged: bool) -> Running:
        """``/system/bin/sh -c command``; None: an interactive shell."""

    def resolve(self, path: str, *, follow: bool = True) -> Path:
        """Where a path of the phone lies on the host, never outside the phone's root. Raises OSError."""

    def check_write(self, path: str) -> None:
        """Raises OSError (EACCES, EROFS, ENOSPC) for what the shell user may not do."""

    def free_bytes(self) -> int: ...
