"""A phone through an adb server: commands answered whole or failing with what happened, and files that are verified."""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import shlex
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from agents.android import files, shell
from agents.android.adb import Server, Slice
from agents.android.files import Delivery
from agents.android.phone import Output
from agents.android.sending import send
from farm.errors import DeviceError, DeviceTimeout, LinkLost, OutputCut

log = logging.getLogger(__name__)

MAX_PULL_BYTES = 2**30


class AdbPhone:
    """``agents.android.phone.Phone``. ``serial``: as the server calls it. Several calls may run at a time."""

    def __init__(self, server: Server, serial: str) -> None:
        self._server, self._serial = server, serial
        self.commands = 0  # streams opened so far

    @property
    def serial(self) -> str:
        return self._serial

    @property
    def server(self) -> Server:
        return self._server

    async def shell(self, command: str, *, timeout_seconds: float = 10.0) -> Output:
        mark = shell.marker()
        began_seconds = time.monotonic()
        async with self._within(timeout_seconds, f"`{shell.shortened(command)}`"):
            stdout, stderr, _ = await self._server.shell(self._serial, shell.wrap(command, mark))
        text, exit_code = shell.unwrap(stdout.decode(errors="replace"), mark, command)
        return Output(text, stderr.decode(errors="replace"), exit_code, time.monotonic() - began_seconds)

    async def run(self, command: str, *, what: str, timeout_seconds: float = 10.0) -> str:
        """As ``shell``, where only exit code 0 will do: DeviceError else. ``what``: for the message."""
        output = await self.shell(command, timeout_seconds=timeout_seconds)
        if output.exit_code:
            said = output.stderr.strip()[-300:] or f"exit code {output.exit_code}"
            remedy = "Free storage on it." if "space" in said.lower() else "See the phone."
            raise DeviceError(f"{what} failed on {self._serial}: {said}.", remedy=remedy)
        return output.stdout

    async def push(self, local: Path, remote: str, *, executable: bool = False) -> None:
        digest, size_bytes = await asyncio.to_thread(hashed, local)
        mode = 0o755 if executable else 0o644
        await self.push_all([Delivery(local, digest, size_bytes, remote, mode)])

    async def push_all(self, deliveries: Sequence[Delivery]) -> None:
        """As ``push``, many files, a hundred in three commands. Parts that came whole before a cut are not sent
        again."""
        for start in range(0, len(deliveries), files.MOST_AT_ONCE):
            await send(self, deliveries[start : start + files.MOST_AT_ONCE])

    async def send(self, slices: Sequence[Slice], arrived: Callable[[Slice], None]) -> None:
        """``arrived`` is told of each that the phone has."""
        size_bytes = sum(one.length for one in slices)
        async with self._within(files.seconds_for(size_bytes), f"Sending {size_bytes:,} bytes"):
            await self._server.send(self._serial, slices, arrived)

    async def pull(self, remote: str, local: Path) -> None:
        found = await self.shell(f"sha256sum {shlex.quote(remote)}", timeout_seconds=files.seconds_for(MAX_PULL_BYTES))
        if found.exit_code:
            raise DeviceError(f"{remote} cannot be read from {self._serial}: {found.stderr.strip()}.", remedy="See it.")
        await self.pull_all({remote: (local, found.stdout.split()[0])})

    async def pull_all(self, wanted: dict[str, tuple[Path, str]]) -> None:
        """{remote: (local, hash)}, in one command."""
        parts = {remote: local.with_name(f"{local.name}.part") for remote, (local, _) in wanted.items()}
        try:
            with ExitStack() as stack:
                opened = [(remote, stack.enter_context(part.open("wb"))) for remote, part in parts.items()]
                async with self._within(files.seconds_for(MAX_PULL_BYTES), f"Fetching {', '.join(wanted)}"):
                    await self._server.receive(self._serial, opened, MAX_PULL_BYTES)
            for remote, (local, digest) in wanted.items():
                if (await asyncio.to_thread(hashed, parts[remote]))[0] != digest:
                    raise OutputCut(
                        f"{remote} of {self._serial} arrived otherwise than it is there.", remedy="It is fetched again."
                    )
                parts[remote].replace(local)
        finally:
            for part in parts.values():
                part.unlink(missing_ok=True)

    async def reboot(self) -> None:
        """It is gone in a moment. Raises LinkLost where it was before."""
        async with self._within(10, "Rebooting"):
            await self._server.tell(self._serial, "reboot:")

    async def read(self, remote: str, *, max_bytes: int) -> bytes:
        buffer = io.BytesIO()
        async with self._within(files.seconds_for(max_bytes), f"Reading {remote}"):
            await self._server.receive(self._serial, [(remote, buffer)], max_bytes)
        return buffer.getvalue()

    @asynccontextmanager
    async def _within(self, seconds: float, what: str) -> AsyncIterator[None]:
        self.commands += 1
        try:
            async with asyncio.timeout(seconds) as limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise DeviceTimeout(
                f"{what} took longer than {seconds:g} s on {self._serial}.",
                remedy="See whether the phone still answers.",
            ) from error
        except LinkLost as error:
            raise LinkLost(f"{self._serial}: {error.message}", remedy=error.remedy) from error


def hashed(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest, path.stat().st_size
