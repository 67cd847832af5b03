"""``shell:`` and ``exec:``: programs of the phone, with and without the shell protocol (AOSP's shell_protocol.h).

The protocol's packets are an id of one byte, a length of four, and the data.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum

from agents.virtual.phone.adbd.packet import Payload
from agents.virtual.phone.adbd.stream import Stream
from agents.virtual.phone.machine import Machine, Running
from farm.errors import InfrastructureError, LinkLost

_HEADER = struct.Struct("<BI")
_WINDOW_SIZE = re.compile(rb"(\d{1,4})x(\d{1,4}),")  # ROWSxCOLUMNS,WIDTHxHEIGHT, the latter in pixels
_CHUNK_BYTES = 2**18
CANNOT_EXECUTE = 126  # a shell's own code for it
MOST_FRAME_BYTES = 2**20  # adb's own frames are at most 4 KiB


class Id(IntEnum):
    STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN, WINDOW_SIZE = range(6)


@dataclass(frozen=True)
class Request:
    command: str | None  # None: an interactive shell
    protocol: bool
    terminal: bool


def parse(service: str) -> Request:
    """Of ``shell:COMMAND``, ``shell,v2,raw,TERM=xterm:COMMAND`` or ``exec:COMMAND``."""
    arguments, _, command = service.partition(":")
    kind, *options = arguments.split(",")
    terminal = ("pty" in options or not command) and "raw" not in options and kind != "exec"
    return Request(command or None, "v2" in options, terminal)


def frame(kind: Id, data: Payload) -> bytes:
    return _HEADER.pack(kind, len(data)) + data


class Frames:
    """Puts frames together that arrive in pieces."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: Payload) -> Iterator[tuple[int, bytes]]:
        """Raises LinkLost at a frame that is longer than any of adb's."""
        self._pending += data
        while len(self._pending) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._pending)
            if length > MOST_FRAME_BYTES:
                raise LinkLost(f"A frame of {length} bytes came to the shell.", remedy="Open the shell again.")
            if len(self._pending) < _HEADER.size + length:
                return
            content = bytes(self._pending[_HEADER.size : _HEADER.size + length])
            del self._pending[: _HEADER.size + length]
            yield kind, content


async def serve(machine: Machine, request: Request, stream: Stream) -> None:
    try:
        running = await machine.spawn(request.command, terminal=request.terminal, merged=not request.protocol)
    except (OSError, InfrastructureError) as error:
        await _say_refused(f"error: {error}\n".encode(), request, stream)
        return
    by_itself = False
    try:
        if request.protocol:
            by_itself = await _framed(running, stream)
        else:
            by_itself = await _raw(running, stream, hang_up=request.terminal)
    finally:
        if not by_itself:
            running.kill()
        if running.stdin:
            running.stdin.close()


async def _say_refused(text: bytes, request: Request, stream: Stream) -> None:
    if request.protocol:
        await stream.write(frame(Id.STDERR, text) + frame(Id.EXIT, bytes([CANNOT_EXECUTE])))
    else:
        await stream.write(text)


async def _framed(running: Running, stream: Stream) -> bool:
    """Until the process has ended and all its output is sent, or the stream has. Whether it ended by itself."""
    outputs = [_send_frames(running.stdout, Id.STDOUT, stream)]
    if running.stderr:
        outputs.append(_send_frames(running.stderr, Id.STDERR, stream))
    async with _meanwhile(_take_frames(running, stream)), _meanwhile(_all(outputs)) as sent:
        if not await _first(sent, stream):
            return False
        await stream.write(frame(Id.EXIT, bytes([await running.wait() & 0xFF])))
        return True


async def _raw(running: Running, stream: Stream, *, hang_up: bool) -> bool:
    """Without the protocol there is no way to say that only stdin has ended: that is the end of the stream.

    Then a process without a terminal goes on as it would on a phone, where its output has no reader any more: until it
    ends by itself, or writes something.
    """
    async with _meanwhile(_take_raw(running, stream)) as taken, _meanwhile(_send_raw(running.stdout, stream)) as sent:
        if not await _first(sent, stream):
            if hang_up:
                return False
            await taken
            await sent
        await running.wait()
        return True


async def _first(sent: asyncio.Task[None], stream: Stream) -> bool:
    """Whether all output was sent before the stream ended."""
    async with _meanwhile(stream.wait_ended()) as gone:
        await asyncio.wait([sent, gone], return_when=asyncio.FIRST_COMPLETED)
    if not sent.done():
        return False
    sent.result()
    return True


async def _all(works: Sequence[Coroutine[None, None, None]]) -> None:
    await asyncio.gather(*works)


@asynccontextmanager
async def _meanwhile(work: Coroutine[None, None, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Goes on beside the block, and ends with it."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, LinkLost):  # nobody listens any more: that is known by then
            await task


async def _take_frames(running: Running, stream: Stream) -> None:
    frames = Frames()
    while data := await stream.read():
        for kind, content in frames.feed(data):
            if kind == Id.STDIN:
                await _feed(running, content)
            elif kind == Id.CLOSE_STDIN and running.stdin:
                running.stdin.close()
            elif kind == Id.WINDOW_SIZE and (size := _WINDOW_SIZE.match(content)):
                running.resize(int(size[1]), int(size[2]))


async def _take_raw(running: Running, stream: Stream) -> None:
    while data := await stream.read():
        await _feed(running, data)
    if running.stdin:
        running.stdin.close()


async def _feed(running: Running, data: Payload) -> None:
    """A process that does not read its stdin any more is no failure of the shell's."""
    if running.stdin is None or running.stdin.is_closing():
        return
    try:
        running.stdin.write(data)
        await running.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        running.stdin.close()


async def _send_frames(output: asyncio.StreamReader, kind: Id, stream: Stream) -> None:
    while data := await output.read(_CHUNK_BYTES):
        await stream.write(frame(kind, data))


async def _send_raw(output: asyncio.StreamReader, stream: Stream) -> None:
    while data := await output.read(_CHUNK_BYTES):
        await stream.write(data)
