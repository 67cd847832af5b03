"""``reverse:``: sockets on the phone that lead to the adb server's host."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from agents.virtual.phone.adbd import sockets
from agents.virtual.phone.adbd.connection import Connection
from agents.virtual.phone.adbd.stream import Stream


@dataclass(frozen=True)
class _Listener:
    remote: str
    connection: Connection
    server: asyncio.Server


class _Refused(Exception):
    """Said to the other end as FAIL."""


class Reverse:
    """Listeners end with the connection that asked for them, as on a phone."""

    def __init__(self) -> None:
        self._listeners: dict[str, _Listener] = {}

    async def serve(self, connection: Connection, request: str, stream: Stream) -> None:
        """One request, answered by OKAY or FAIL, and texts behind their length in four hexadecimal digits."""
        try:
            answer = await self._answer(connection, request)
        except _Refused as refused:
            answer = b"FAIL" + _counted(str(refused))
        await stream.write(answer)

    def forget(self, connection: Connection) -> None:
        for local, listener in list(self._listeners.items()):
            if listener.connection is connection:
                self._close(local)

    async def _answer(self, connection: Connection, request: str) -> bytes:
        kind, _, rest = request.partition(":")
        match kind:
            case "list-forward":
                lines = [f"host {local} {found.remote}\n" for local, found in self._listeners.items()]
                return _counted("".join(lines))  # the one answer without OKAY
            case "killforward-all":
                for local in list(self._listeners):
                    self._close(local)
                return b"OKAY"
            case "killforward":
                if rest not in self._listeners:
                    raise _Refused(f"listener '{rest}' not found")
                self._close(rest)
                return b"OKAY"
            case "forward":
                rest, keep = (rest.removeprefix("norebind:"), rest.startswith("norebind:"))
                local, _, remote = rest.partition(";")
                return await self._listen(connection, local, remote, keep=keep)
        raise _Refused(f"unknown reverse request {kind!r}")

    async def _listen(self, connection: Connection, local: str, remote: str, *, keep: bool) -> bytes:
        if not remote:
            raise _Refused("bad forward: missing ';'")
        if local in self._listeners:
            if keep:
                raise _Refused("cannot rebind existing socket")
            self._close(local)
        pass_on = partial(_pass_on, connection, remote)
        kind, _, place = local.partition(":")
        try:
            if kind == "localabstract":
                server = await asyncio.start_unix_server(pass_on, "\x00" + place)
            elif kind == "tcp":
                server = await asyncio.start_server(pass_on, "127.0.0.1", int(place))
            else:
                raise _Refused(f"cannot listen at '{local}'")
        except (OSError, ValueError) as error:
            raise _Refused(f"cannot bind listener: {error}") from None
        chosen = ""
        if local == "tcp:0":
            chosen = str(server.sockets[0].getsockname()[1])
            local = f"tcp:{chosen}"
        self._listeners[local] = _Listener(remote, connection, server)
        return b"OKAY" + (_counted(chosen) if chosen else b"")

    def _close(self, local: str) -> None:
        self._listeners.pop(local).server.close()


async def _pass_on(
    connection: Connection, remote: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    async def join(stream: Stream) -> None:
        await sockets.join(stream, reader, writer)

    stream = await connection.open(remote)
    if stream is None:
        writer.close()
    else:
        connection.serve(join, stream)


def _counted(text: str) -> bytes:
    data = text.encode()
    return f"{len(data):04x}".encode() + data
