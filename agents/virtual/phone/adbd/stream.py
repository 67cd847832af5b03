"""One stream of a connection, with the flow control of the transport: one unacknowledged WRTE in each direction."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from agents.virtual.phone.adbd import packet as wire
from agents.virtual.phone.adbd.packet import Packet, Payload
from farm.errors import LinkLost

# Acknowledged before the service has read it, so that the next packet travels meanwhile: adbd's sockets do the same.
READ_AHEAD_BYTES = 2 * wire.MAX_PAYLOAD_BYTES


class Stream:
    """``local_id``: ours, ``remote_id``: the adb server's; 0 until it acknowledged a stream that we opened."""

    def __init__(
        self, send: Callable[[Packet], None], local_id: int, remote_id: int, max_payload_bytes: int, service: str
    ) -> None:
        self._send, self._max_payload_bytes = send, max_payload_bytes
        self.local_id, self.remote_id, self.service = local_id, remote_id, service
        self._unread: deque[Payload] = deque()
        self._unread_bytes = 0
        self._owes_acknowledgement = False
        self._writing = asyncio.Lock()  # stdout and stderr of a shell, each in whole frames
        self._readable, self._writable, self._ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
        if remote_id:
            self._writable.set()

    # the service's side

    async def read(self) -> Payload:
        """The next packet's payload; empty when the other end has closed and everything was read."""
        while not self._unread:
            if self.ended:
                return b""
            self._readable.clear()
            await self._readable.wait()
        data = self._unread.popleft()
        self._unread_bytes -= len(data)
        if self._owes_acknowledgement and self._unread_bytes <= READ_AHEAD_BYTES and not self.ended:
            self._owes_acknowledgement = False
            self._acknowledge()
        return data

    async def write(self, data: Payload) -> None:
        """Returns when the last packet is sent; acknowledged it is before the next. Raises LinkLost after the end."""
        view = memoryview(data)
        async with self._writing:
            for start in range(0, len(view), self._max_payload_bytes):
                await self._writable.wait()
                if self.ended:
                    raise LinkLost(f"The other end of {self.service!r} has closed.", remedy="Open it again.")
                self._writable.clear()
                part = view[start : start + self._max_payload_bytes]
                self._send(Packet(wire.WRTE, self.local_id, self.remote_id, part))

    async def flushed(self) -> None:
        """Until everything written was acknowledged, or nobody is there any more to do so."""
        await self._writable.wait()

    async def wait_ended(self) -> None:
        """Until the other end has closed. What it sent before can still be read."""
        await self._ended.wait()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    # the connection's side

    def received(self, data: Payload) -> None:
        if self._owes_acknowledgement:
            raise wire.broken(f"a second packet on {self.service!r} before the first was acknowledged")
        if data:
            self._unread.append(data)
            self._unread_bytes += len(data)
            self._readable.set()
        if self._unread_bytes > READ_AHEAD_BYTES:
            self._owes_acknowledgement = True
        else:
            self._acknowledge()

    def acknowledged(self, remote_id: int) -> None:
        self.remote_id = remote_id
        self._writable.set()

    def end(self) -> None:
        self._ended.set()
        self._readable.set()
        self._writable.set()

    def _acknowledge(self) -> None:
        self._send(Packet(wire.OKAY, self.local_id, self.remote_id))
