"""The plainest machine an adbd can run on: busybox in a folder of its own, and this host's processes."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

BUSYBOX = shutil.which("busybox")


class PlainRunning:
    """A process in a session of its own, as adbd starts them."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        self._process = process
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr

    async def wait(self) -> int:
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    def resize(self, rows: int, columns: int) -> None:
        """It has no terminal."""

    def kill(self) -> None:
        for kind in (signal.SIGHUP, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, kind)


class PlainMachine:
    serial = "plain"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.properties = {
            "ro.adb.secure": "1",
            "ro.product.name": "plain",
            "ro.product.model": "Plain_1",
            "ro.product.device": "plain",
        }
        self.free: int | None = None
        (root / "data/local/tmp").mkdir(parents=True)
        (root / "system").mkdir()

    async def spawn(self, command: str | None, *, terminal: bool, merged: bool) -> PlainRunning:
        assert BUSYBOX is not None
        process = await asyncio.create_subprocess_exec(
            BUSYBOX,
            "sh",
            *(() if command is None else ("-c", command)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if merged or terminal else asyncio.subprocess.PIPE,
            start_new_session=True,
            cwd=self.root,
            env={"PATH": os.defpath, "ROOT": str(self.root)},
        )
        return PlainRunning(process)

    def resolve(self, path: str, *, follow: bool = True) -> Path:
        return self.root / path.lstrip("/")

    def check_read(self, path: str) -> None:
        self.resolve(path).stat()

    def check_write(self, path: str) -> None:
        if path.startswith("/system"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        if not path.startswith("/data/local/tmp"):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.root).free if self.free is None else self.free
