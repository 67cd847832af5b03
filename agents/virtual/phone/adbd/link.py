"""One TCP connection of an adb server, as packets: bytes to packets, packets to bytes, as slow or broken as asked."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol, cast

from agents.virtual.phone.adbd import packet as wire
from agents.virtual.phone.adbd.packet import HEADER_BYTES, Header, Packet, Payload
from agents.virtual.phone.faults import Faults
from farm.errors import LinkLost

# Answers nobody reads: then nothing more is read either. Above what one stream may have under way.
MOST_UNSENT_BYTES = 4 * 2**20
_SLOW_STEP_SECONDS = 0.02
_LENGTH_AT = 12  # in a header
_JOINED_BYTES = 2**14  # copied, rather than sent in two calls
_LONGEST_FRAMING_BYTES = 8  # of shell and sync, in front of what they carry: damage is done behind it


class Receiver(Protocol):
    def received(self, packet: Packet) -> None: ...
    def lost(self) -> None: ...


class Link(asyncio.BufferedProtocol):
    """Payloads are received straight into the buffer that the stream gets: nothing is copied on the way."""

    def __init__(self, faults: Faults, receiver: Receiver) -> None:
        self._faults, self._receiver = faults, receiver
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._header, self._payload = bytearray(HEADER_BYTES), bytearray()
        self._head: Header | None = None
        self._filled = 0
        self._slow: deque[memoryview] = deque()  # not yet sent over a slow link
        self._slow_timer: asyncio.TimerHandle | None = None
        self._held: set[str] = set()  # why nothing is read at the moment
        self.version = wire.VERSION_WITH_CHECKSUM  # until both have said theirs

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(MOST_UNSENT_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._slow_timer:
            self._slow_timer.cancel()
        self._receiver.lost()

    def pause_writing(self) -> None:
        self._hold("unsent")

    def resume_writing(self) -> None:
        self._release("unsent")

    def get_buffer(self, sizehint: int) -> memoryview:
        view = memoryview(self._header if self._head is None else self._payload)[self._filled :]
        rate = self._faults.slow_link_bytes_per_second
        return view[: _step_bytes(rate)] if rate else view

    def buffer_updated(self, nbytes: int) -> None:
        if rate := self._faults.slow_link_bytes_per_second:
            self._hold("slow")
            self._loop.call_later(nbytes / rate, self._release, "slow")
        self._filled += nbytes
        try:
            if self._head is None and self._filled == HEADER_BYTES:
                self._head, self._filled = wire.parse(self._header), 0
                self._payload = bytearray(self._head.length)
            if self._head is not None and self._filled == self._head.length:
                head, payload = self._head, self._payload
                self._head, self._filled, self._payload = None, 0, bytearray()
                if self.version < wire.VERSION:
                    wire.verify(head, payload)
                self._receiver.received(Packet(head.command, head.arg0, head.arg1, payload))
        except LinkLost:
            self.cut()

    # the connection's side

    def send(self, packet: Packet) -> None:
        """Never waits: at most one packet of each stream is under way, and who does not read is not read either."""
        if self._transport is None:
            return
        head: Payload = wire.header(packet, with_checksum=self.version < wire.VERSION)
        payload = packet.payload
        if packet.command == wire.WRTE and self._faults.protocol_fault:
            head, payload = _broken(self._faults.protocol_fault, head, payload)
        if self._faults.slow_link_bytes_per_second or self._slow:
            self._slow += [memoryview(head), memoryview(payload)]
            if self._slow_timer is None:
                self._trickle()
            return
        if len(payload) <= _JOINED_BYTES:
            self._transport.write(b"".join((head, payload)))
        else:
            self._transport.write(head)
            self._transport.write(payload)

    def cut(self) -> None:
        """As when the cable is pulled: what is under way is lost."""
        if self._transport:
            self._transport.abort()

    # slowness

    def _trickle(self) -> None:
        self._slow_timer = None
        rate = self._faults.slow_link_bytes_per_second
        sent, step = 0, _step_bytes(rate) if rate else MOST_UNSENT_BYTES
        while self._transport and self._slow and sent < step:
            part = self._slow.popleft()
            now, later = part[: step - sent], part[step - sent :]
            if later:
                self._slow.appendleft(later)
            self._transport.write(now)
            sent += len(now)
        if self._transport and self._slow:
            self._slow_timer = self._loop.call_later(sent / rate if rate else 0, self._trickle)
        elif rate and sent:  # what is sent next waits until this is through
            self._slow_timer = self._loop.call_later(sent / rate, self._trickle)

    def _hold(self, reason: str) -> None:
        if self._transport and not self._held:
            self._transport.pause_reading()
        self._held.add(reason)

    def _release(self, reason: str) -> None:
        self._held.discard(reason)
        if self._transport and not self._held:
            self._transport.resume_reading()


def _step_bytes(rate: int) -> int:
    return max(1, int(rate * _SLOW_STEP_SECONDS))


def _broken(fault: str, head: Payload, payload: Payload) -> tuple[Payload, Payload]:
    if fault == "header":
        # Over TCP adb servers look at the length only, not at the magic: one that cannot be.
        return bytes(head[:_LENGTH_AT]) + b"\xff" * 4 + bytes(head[_LENGTH_AT + 4 :]), payload
    damaged = bytearray(payload)
    if len(damaged) >= _LONGEST_FRAMING_BYTES * 2:
        damaged[len(damaged) // 2] ^= 1
    return head, damaged
