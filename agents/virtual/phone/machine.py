"""What an adb daemon needs of the machine it runs on: programs and files."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol


class Running(Protocol):
    """A process of the phone's shell. Its streams are to be read until their end, or it may wait for its reader."""

    @property
    def stdin(self) -> asyncio.StreamWriter | None: ...

    @property
    def stdout(self) -> asyncio.StreamReader: ...

    @property
    def stderr(self) -> asyncio.StreamReader | None:
        """None with a terminal, and where it was merged into ``stdout``."""

    async def wait(self) -> int:
        """The exit code; 128 + signal where one ended it. Output may come later: children can outlive it."""

    def kill(self) -> None:
        """End it and its children: SIGHUP as adbd does, then SIGKILL. What made a session of its own stays."""

    def resize(self, rows: int, columns: int) -> None:
        """Of its terminal; without one, nothing."""


class Machine(Protocol):
    """Paths are the phone's, absolute. Errors are OSErrors with the kernel's ``errno``."""

    @property
    def serial(self) -> str: ...

    @property
    def properties(self) -> Mapping[str, str]:
        """Those of getprop, at this moment."""

    async def spawn(self, command: str | None, *, terminal: bool, merged: bool) -> Running:
        """``/system/bin/sh -c command``; None: an interactive shell.

        Raises OSError for what the kernel refuses, InfrastructureError when the phone is off.
        """

    def resolve(self, path: str, *, follow: bool = True) -> Path:
        """Where this process finds a path of the phone's: never outside its root, whatever its links say.

        ``follow`` is about the last component. Whether a file is there is not said. Raises ELOOP, EACCES, ENOTDIR.
        """

    def check_read(self, path: str) -> None:
        """Raises EACCES for what the shell user may not read, ENOENT for what is not there."""

    def check_write(self, path: str) -> None:
        """Raises EACCES, EROFS or ENOSPC for what the shell user may not write or create, its folders included."""

    def free_bytes(self) -> int:
        """On /data."""
