"""``shell:`` and ``exec:``: programs of the phone, with and without the shell protocol (AOSP's shell_protocol.h).

The protocol's packets are an id of one byte, a length of four, and the data.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, runtime_checkable

from agents.virtual.phone.adbd.packet import Payload
from agents.virtual.phone.adbd.stream import Stream
from agents.virtual.phone.machine import Machine, Running
from farm.errors import LinkLost

_HEADER = struct.Struct("<BI")
_CHUNK_BYTES = 2**18
MOST_FRAME_BYTES = 2**20  # adb's own frames are at most 4 KiB


class Id(IntEnum):
    STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN, WINDOW_SIZE = range(6)


@runtime_checkable
class Resizable(Protocol):
    """A terminal whose window can change: what a process of a machine with real terminals also is."""

    def resize(self, rows: int, columns: int) -> None: ...


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
    running = await machine.spawn(request.command, terminal=request.terminal, merged=not request.protocol)
    if request.protocol:
        await _serve_framed(running, stream)
    else:
        await _serve_raw(running, stream, hang_up=request.terminal)


async def _serve_framed(running: Running, stream: Stream) -> None:
    """With the end of the stream, the process is hung up, as adbd does."""
    reading = asyncio.create_task(_take_frames(running, stream))
    outputs = [asyncio.create_task(_send_frames(running.stdout, Id.STDOUT, stream))]
    if running.stderr:
        outputs.append(asyncio.create_task(_send_frames(running.stderr, Id.STDERR, stream)))
    finished = asyncio.gather(running.wait(), *outputs)
    gone = asyncio.create_task(stream.wait_ended())
    try:
        await asyncio.wait([finished, gone], return_when=asyncio.FIRST_COMPLETED)
        if not stream.ended:
            exit_code, *_ = await finished
            await stream.write(frame(Id.EXIT, bytes([exit_code & 0xFF])))
    finally:
        await _clear_up(running, [reading, gone, *outputs], finished)


async def _serve_raw(running: Running, stream: Stream, *, hang_up: bool) -> None:
    """Without the protocol there is no way to say that only stdin has ended: that is the end of the stream.

    Then a process without a terminal goes on as it would on a phone, where its output has no reader any more: until it
    ends by itself, or writes something.
    """
    reading = asyncio.create_task(_take_raw(running, stream))
    gone = asyncio.create_task(stream.wait_ended())
    output = asyncio.create_task(_send_raw(running.stdout, stream))
    finished = asyncio.gather(running.wait(), output)
    try:
        await asyncio.wait([finished, gone], return_when=asyncio.FIRST_COMPLETED)
        if not finished.done() and not hang_up:
            await reading
            await asyncio.wait([finished, output], return_when=asyncio.FIRST_COMPLETED)
            if output.done() and output.exception() is None:
                await running.wait()
    finally:
        await _clear_up(running, [reading, gone, output], finished)


async def _clear_up(running: Running, tasks: list[asyncio.Task[None]], finished: asyncio.Future[list[object]]) -> None:
    if not finished.done() or finished.cancelled() or finished.exception():
        running.kill()
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, finished, return_exceptions=True)
    expected = (asyncio.CancelledError, LinkLost, OSError)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, expected):
            raise result
    if running.stdin:
        running.stdin.close()


async def _take_frames(running: Running, stream: Stream) -> None:
    frames = Frames()
    while data := await stream.read():
        for kind, content in frames.feed(data):
            if kind == Id.STDIN:
                await _feed(running, content)
            elif kind == Id.CLOSE_STDIN and running.stdin:
                running.stdin.close()
            elif kind == Id.WINDOW_SIZE and isinstance(running, Resizable):
                if size := re.match(rb"(\d{1,4})x(\d{1,4}),", content):  # ROWSxCOLUMNS,WIDTHxHEIGHT in pixels
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
