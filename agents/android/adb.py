"""The adb server's own protocol over asyncio: requests to it, and streams to phones through it.

AOSP, packages/modules/adb: OVERVIEW.TXT, SERVICES.TXT, SYNC.TXT and shell_protocol.h. Written here instead of taken
from adbutils, whose calls block, whose time-outs are per read, and which starts a server on the default port when the
one that was asked for is gone; the ``adb`` program to start one with is the one in its wheel. That program is not used
for anything else: it ends a running server of another version.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import struct
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from agents import command
from farm.errors import DeviceError, InfrastructureError, LinkLost

CONNECT_SECONDS = 3.0
START_SECONDS = 20.0
ASK_SECONDS = 20.0
CHUNK_BYTES = 64 * 1024  # the protocol's largest DATA
MAX_OUTPUT_BYTES = 64 * 2**20
_LOCAL = ("127.0.0.1", "localhost", "::1")
_STDIN, _STDOUT, _STDERR, _EXIT = range(4)
_KEPT_ENVIRONMENT = ("PATH", "HOME", "USER", "TMPDIR", "ANDROID_USER_HOME", "ANDROID_SDK_HOME", "ADB_VENDOR_KEYS")


@dataclass(frozen=True)
class Seen:
    """A line of ``adb devices``. ``state``: device, offline, unauthorized, "no permissions (...)", recovery and so
    on."""

    serial: str
    state: str


@dataclass(frozen=True)
class Slice:
    """Bytes of a local file, to become the file ``remote``."""

    local: Path
    remote: str
    offset: int
    length: int
    mode: int = 0o644


class Refused(Exception):
    """The server, or the phone's adbd, said FAIL."""


class Connection:
    """One stream to the server. What is read raises EOFError at its end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def exactly(self, count: int) -> bytes:
        return await self.reader.readexactly(count)

    async def text(self) -> str:
        """A block with its length in four hexadecimal digits before it."""
        return (await self.exactly(int(await self.exactly(4), 16))).decode(errors="replace")

    async def request(self, service: str) -> None:
        """Raises Refused with what the server says, EOFError."""
        words = service.encode()
        if len(words) > 0xFFFF:
            raise ValueError(f"a request of {len(words)} bytes: adb takes 65,535")
        self.writer.write(b"%04x%b" % (len(words), words))
        await self.writer.drain()
        await self.okay()

    async def okay(self) -> None:
        answer = await self.exactly(4)
        if answer == b"FAIL":
            raise Refused(await self.text())
        if answer != b"OKAY":
            raise Refused(f"answered {answer!r}")

    async def word(self) -> tuple[bytes, int]:
        """Of the sync protocol: a name and a number."""
        name, number = struct.unpack("<4sI", await self.exactly(8))
        return name, number


class Server:
    """An adb server at ``host:port``. One on this machine is started when it is needed; no other is."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.requests = 0  # streams opened to phones so far

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def local(self) -> bool:
        return self.host in _LOCAL

    async def ensure(self) -> None:
        """That it runs. Raises LinkLost with what to do."""
        with contextlib.suppress(LinkLost):
            async with self._connected():
                return
        program = adb_program() if self.local else None
        if program is None:
            why = "There is no adb program here either" if self.local else "It is on another machine"
            raise LinkLost(
                f"No adb server answers at {self}. {why}.",
                remedy="`pip install 'torchfarm[android]'` brings adb." if self.local else "Start it there.",
            )
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        try:
            outcome = await command.run([program, "-P", str(self.port), "start-server"], environment, START_SECONDS)
        except (OSError, TimeoutError) as error:
            raise LinkLost(f"{program} did not start a server on port {self.port}: {error!r}.", remedy="") from error
        try:  # somebody else's start may have been faster
            async with self._connected():
                return
        except LinkLost as error:
            raise LinkLost(f"No adb server at {self}: {outcome.output}", remedy="See what adb says.") from error

    async def ask(self, service: str) -> str:
        """Of the server itself ("host:..."). Raises LinkLost, also where it takes too long, and Refused."""
        try:
            async with asyncio.timeout(ASK_SECONDS), self._connected() as connection:
                await connection.request(service)
                return await connection.text()
        except TimeoutError as error:
            raise LinkLost(
                f"The adb server {self} did not answer {service} within {ASK_SECONDS:g} s.",
                remedy="See the phone's network; then `adb kill-server`.",
            ) from error

    async def connect(self, address: str) -> None:
        """To a phone on the network. One that the server has but that is offline is connected anew: by itself it would
        stay so. Raises LinkLost with what the server says."""
        if Seen(address, "offline") in await self.devices():
            await self.disconnect(address)
        try:
            said = await self.ask(f"host:connect:{address}")
        except Refused as refusal:
            said = str(refusal)
        # A phone that asks its owner first "fails to authenticate", and is connected all the same.
        if not said.startswith(("connected", "already connected", "failed to authenticate")):
            raise LinkLost(f"{address} cannot be connected to: {said}.", remedy="See docs/phones.md, Wi-Fi.")

    async def pair(self, address: str, code: str) -> str:
        """With the port and the code that the phone's dialog shows; what the server says. Needs an adb of 2020 or
        later on this machine. Raises LinkLost."""
        try:
            said = await self.ask(f"host:pair:{code}:{address}")
        except Refused as refusal:
            said = str(refusal)
        if not said.startswith("Successfully"):
            raise LinkLost(f"{address} cannot be paired with: {said}.", remedy="Open the phone's dialog anew.")
        return said

    async def disconnect(self, address: str) -> None:
        """Raises LinkLost. One that is not there is no error."""
        with contextlib.suppress(Refused):
            await self.ask(f"host:disconnect:{address}")

    async def track(self) -> AsyncIterator[tuple[Seen, ...]]:
        """All phones, now and after every change, until the server is gone: then LinkLost.

        Always the whole list, so that a phone that changes its state is never told to be absent in between.
        """
        async with self._connected() as connection:
            await connection.request("host:track-devices")
            while True:
                yield _listed(await connection.text())

    async def devices(self) -> tuple[Seen, ...]:
        """As they are now: adb 29 does not tell trackers that a phone went offline. Raises LinkLost."""
        return _listed(await self.ask("host:devices"))

    async def shell(self, serial: str, line: str) -> tuple[bytes, bytes, int]:
        """Run it by the phone's ``/system/bin/sh -c``: stdout, stderr, exit code. Hung up on when this is cancelled.

        Raises LinkLost also where the stream ends before the exit code.
        """
        parts: dict[int, bytearray] = {_STDOUT: bytearray(), _STDERR: bytearray()}
        async with self._phone(serial, f"shell,v2,raw:{line}") as connection:
            while True:
                kind, length = struct.unpack("<BI", await connection.exactly(5))
                content = await connection.exactly(length)
                if kind == _EXIT:
                    return bytes(parts[_STDOUT]), bytes(parts[_STDERR]), content[0]
                if kind in parts:
                    parts[kind] += content
                    if len(parts[kind]) > MAX_OUTPUT_BYTES:
                        raise DeviceError(
                            f"A command on {serial} wrote more than {MAX_OUTPUT_BYTES:,} bytes.", remedy="Report this."
                        )

    async def tell(self, serial: str, service: str) -> None:
        """Open a service of the phone's and read what it says until it hangs up."""
        async with self._phone(serial, service) as connection:
            await connection.reader.read()

    async def send(self, serial: str, slices: Iterable[Slice], arrived: Callable[[Slice], None]) -> None:
        """Write files there, one after the other, through one stream; ``arrived`` is told of each. What was being
        written when it fails is removed by adbd. Raises LinkLost, DeviceError with what the phone says (storage that
        is full)."""
        async with self._phone(serial, "sync:") as connection:
            for part in slices:
                with part.local.open("rb") as file:
                    try:
                        await _send(connection, part, file)
                    except ConnectionError:  # adbd says why before it hangs up, where it does
                        with contextlib.suppress(TimeoutError, EOFError):
                            await asyncio.wait_for(_sent(connection, part), CONNECT_SECONDS)
                        raise
                arrived(part)
            connection.writer.write(struct.pack("<4sI", b"QUIT", 0))

    async def receive(self, serial: str, remotes: Iterable[tuple[str, BinaryIO]], max_bytes: int) -> None:
        """Read files from there, one after the other, through one stream. Raises LinkLost, DeviceError where one is
        missing or larger than ``max_bytes``."""
        async with self._phone(serial, "sync:") as connection:
            for remote, file in remotes:
                path = remote.encode()
                connection.writer.write(struct.pack("<4sI", b"RECV", len(path)) + path)
                await _received(connection, remote, file, max_bytes)
            connection.writer.write(struct.pack("<4sI", b"QUIT", 0))

    @asynccontextmanager
    async def _phone(self, serial: str, service: str) -> AsyncIterator[Connection]:
        """A stream to a service of the phone. Raises LinkLost for all that the link does to it."""
        self.requests += 1
        try:
            async with self._connected() as connection:
                await connection.request(f"host:transport:{serial}")
                await connection.request(service)
                yield connection
        except Refused as refusal:
            raise LinkLost(f"{serial} cannot be reached: {refusal}.", remedy=advice(str(refusal))) from refusal

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(self.host, self.port, limit=2**20)
        except (OSError, TimeoutError) as error:
            raise LinkLost(f"No adb server answers at {self}: {error}.", remedy="Start it there.") from error
        try:
            yield Connection(reader, writer)
        except (EOFError, ConnectionError) as error:
            raise LinkLost(
                f"The link through the adb server {self} was lost: {str(error) or 'connection closed'}.",
                remedy="See the cable, the network and the phone.",
            ) from error
        finally:
            writer.close()


def _listed(text: str) -> tuple[Seen, ...]:
    fields = [line.split("\t", 1) for line in text.splitlines()]
    return tuple(Seen(*pair) for pair in fields if len(pair) == 2)


async def _send(connection: Connection, part: Slice, file: BinaryIO) -> None:
    target = f"{part.remote},{0o100000 | part.mode}".encode()
    connection.writer.write(struct.pack("<4sI", b"SEND", len(target)) + target)
    file.seek(part.offset)
    left = part.length
    while left:
        chunk = file.read(min(CHUNK_BYTES, left))
        if not chunk:
            raise InfrastructureError(f"{part.local} became shorter while it was sent.", remedy="Send it again.")
        connection.writer.write(struct.pack("<4sI", b"DATA", len(chunk)) + chunk)
        await connection.writer.drain()
        left -= len(chunk)
    connection.writer.write(struct.pack("<4sI", b"DONE", 0))
    await _sent(connection, part)


async def _sent(connection: Connection, part: Slice) -> None:
    name, number = await connection.word()
    if name == b"FAIL":
        said = (await connection.exactly(number)).decode(errors="replace")
        raise DeviceError(f"{part.remote} cannot be written: {said}.", remedy=_room(said))
    if name != b"OKAY":
        raise LinkLost(f"The phone broke adb's sync protocol with {name!r}.", remedy="Plug it in anew.")


async def _received(connection: Connection, remote: str, file: BinaryIO, max_bytes: int) -> None:
    count = 0
    while True:
        name, number = await connection.word()
        if name == b"DONE":
            return
        if name == b"FAIL":
            said = (await connection.exactly(number)).decode(errors="replace")
            raise DeviceError(f"{remote} cannot be read: {said}.", remedy=_room(said))
        if name != b"DATA" or number > CHUNK_BYTES:
            raise LinkLost(f"The phone broke adb's sync protocol with {name!r}.", remedy="Plug it in anew.")
        count += number
        if count > max_bytes:
            raise DeviceError(f"{remote} is larger than {max_bytes:,} bytes.", remedy="See what wrote it.")
        file.write(await connection.exactly(number))


def _room(said: str) -> str:
    if "space" in said.lower():
        return "Its storage is full: free some (`adb shell df /data`), or let `agent_phone_cache_bytes` be less."
    return "See the phone."


def advice(state: str) -> str:
    """What a person can do about a phone in this state, or about which the server says this."""
    for word, remedy in (
        ("unauthorized", "Unlock it and allow USB debugging from this computer on its screen."),
        ("authorizing", "Unlock it and allow USB debugging from this computer on its screen."),
        ("permissions", "This user may not open the USB device: add the udev rule of docs/phones.md."),
        ("offline", "Unplug it and plug it in again; if that does not help, switch USB debugging off and on."),
        ("not found", "Plug it in or switch it on again."),
        ("recovery", "Start its Android: `adb reboot`."),
        ("sideload", "Start its Android: `adb reboot`."),
        ("bootloader", "Start its Android: `fastboot reboot`."),
        ("fastboot", "Start its Android: `fastboot reboot`."),
    ):
        if word in state:
            return remedy
    return "See the cable, the network and the phone."


def adb_program() -> str | None:
    """The one in adbutils' wheel, else the one on the PATH."""
    try:
        from adbutils import adb_path
    except ImportError:
        return shutil.which("adb")
    return str(adb_path())
