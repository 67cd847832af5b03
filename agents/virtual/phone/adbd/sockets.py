"""Sockets of the phone that an adb server forwards to: ``tcp:PORT``, ``localabstract:NAME``, ``localfilesystem:PATH``.

The phone's network is the host's, so its loopback is the host's too.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from agents.virtual.phone.adbd.stream import Stream
from agents.virtual.phone.machine import Machine
from farm.errors import LinkLost

CONNECT_SECONDS = 10.0
_CHUNK_BYTES = 2**18


async def serve(machine: Machine, name: str, stream: Stream) -> None:
    """Connects and passes on. A socket that is not there ends the stream, which is how adbd says so."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await _connect(machine, name)
    except (OSError, ValueError) as error:
        raise LinkLost(f"{name} of the phone: {error}.", remedy="Start what should listen there first.") from error
    await join(stream, reader, writer)


async def join(stream: Stream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Both ways, until one end has closed; a stream has no halves. What was sent before still arrives."""

    async def inwards() -> None:
        while data := await stream.read():
            writer.write(data)
            await writer.drain()

    async def outwards() -> None:
        while data := await reader.read(_CHUNK_BYTES):
            await stream.write(data)

    tasks = [asyncio.create_task(inwards()), asyncio.create_task(outwards())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, LinkLost, OSError):
                await task
        writer.close()


async def _connect(machine: Machine, name: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    kind, _, rest = name.partition(":")
    if kind == "localabstract":
        return await asyncio.open_unix_connection("\x00" + rest)
    if kind == "localfilesystem":
        return await asyncio.open_unix_connection(machine.resolve(rest))
    port, _, host = rest.partition(":")
    return await asyncio.open_connection(host or "127.0.0.1", int(port))
