"""One adb server that is connected: who it is, and its streams."""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping

from agents.virtual.phone.adbd import packet as wire
from agents.virtual.phone.adbd.auth import TOKEN_BYTES, AcceptedKeys, PublicKey, public_key
from agents.virtual.phone.adbd.link import Link
from agents.virtual.phone.adbd.packet import Packet
from agents.virtual.phone.adbd.stream import Stream
from agents.virtual.phone.faults import Faults
from farm.errors import LinkLost

# Only what is implemented: an adb server takes whatever is announced.
FEATURES = ("shell_v2", "cmd", "stat_v2", "ls_v2", "fixed_push_mkdir", "fixed_push_symlink_timestamp", "sendrecv_v2")
MOST_STREAMS = 1024

Service = Callable[[Stream], Awaitable[None]]
Finder = Callable[[str, "Connection"], Service | None]  # None: there is no such service

log = logging.getLogger(__name__)


def banner(properties: Mapping[str, str]) -> bytes:
    """How a phone says what it is: ``device::`` and properties, each ended by a semicolon."""
    shown = [
        f"{name}={properties.get(name, '')}" for name in ("ro.product.name", "ro.product.model", "ro.product.device")
    ]
    return "".join(f"{part};" for part in ["device::" + shown[0], *shown[1:]]).encode() + (
        f"features={','.join(FEATURES)}".encode()
    )


class Connection:
    """``properties``: as they are at this moment. ``find``: the service of a name. ``lost``: called at the end."""

    def __init__(
        self,
        faults: Faults,
        keys: AcceptedKeys,
        properties: Callable[[], Mapping[str, str]],
        find: Finder,
        lost: Callable[[Connection], None],
    ) -> None:
        self._faults, self._keys, self._properties, self._find, self._lost = faults, keys, properties, find, lost
        self.link = Link(faults, self)
        self._max_payload_bytes = wire.OLDEST_MAX_PAYLOAD_BYTES
        self._token: bytes | None = None  # asked for a signature of it
        self._asking: PublicKey | None = None  # shown on the phone's screen, so to speak
        self._greeting: Packet | None = None  # not answered while the phone is offline
        self._online = False
        self._streams: dict[int, Stream] = {}
        self._ids = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    # from the link

    def received(self, packet: Packet) -> None:
        if self._faults.offline:
            if packet.command == wire.CNXN:
                self._greeting = packet
            return
        match packet.command:
            case wire.CNXN:
                self._greet(packet)
            case wire.AUTH:
                self._authenticate(packet)
            case wire.OPEN if self._online:
                self._open(packet)
            case wire.OKAY | wire.WRTE | wire.CLSE if self._online:
                self._continue(packet)
            case wire.OPEN | wire.OKAY | wire.WRTE | wire.CLSE:
                log.debug("ignored before the connection was authorized: %s", packet.command)
            case other:
                raise wire.broken(f"an unknown command {other:#010x}")

    def lost(self) -> None:
        self._end_streams()
        self._lost(self)

    # from the daemon

    def fault_changed(self) -> None:
        """Answers those who were kept waiting, as far as the faults now allow."""
        if self._faults.offline:
            return
        if self._greeting:
            greeting, self._greeting = self._greeting, None
            self._greet(greeting)
        elif self._asking and not self._faults.unauthorized:
            self._accept(self._asking)

    async def open(self, service: str) -> Stream | None:
        """A stream towards the adb server, which connects it to a socket of its host. None: it refused."""
        stream = self._new_stream(0, service)
        self.link.send(Packet(wire.OPEN, stream.local_id, 0, service.encode() + b"\x00"))
        await stream.flushed()
        return None if stream.ended else stream

    async def ended(self) -> None:
        """Until all services have come to their end."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def cancel(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()

    def serve(self, service: Service, stream: Stream) -> None:
        task = asyncio.create_task(self._serve(service, stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # who it is

    def _greet(self, packet: Packet) -> None:
        self._end_streams()
        self._online = False
        self.link.version = min(packet.arg0, wire.VERSION)
        self._max_payload_bytes = max(wire.OLDEST_MAX_PAYLOAD_BYTES, min(packet.arg1, wire.MAX_PAYLOAD_BYTES))
        if self._faults.unauthorized or self._properties().get("ro.adb.secure") == "1":
            self._ask_for_signature()
        else:
            self._welcome()

    def _ask_for_signature(self) -> None:
        self._token = secrets.token_bytes(TOKEN_BYTES)
        self.link.send(Packet(wire.AUTH, wire.AUTH_TOKEN, 0, self._token))

    def _authenticate(self, packet: Packet) -> None:
        if self._token is None:
            return
        if packet.arg0 == wire.AUTH_SIGNATURE:
            if not self._faults.unauthorized and self._keys.signed(self._token, bytes(packet.payload)):
                self._welcome()
            else:
                self._ask_for_signature()  # the server has other keys, or sends its public one at last
        elif packet.arg0 == wire.AUTH_RSAPUBLICKEY:
            key = public_key(bytes(packet.payload))
            if key is None:
                raise wire.broken("a public key that is none")
            if self._faults.unauthorized:
                self._asking = key
            else:
                self._accept(key)

    def _accept(self, key: PublicKey) -> None:
        """The phone's owner taps "always allow from this computer"."""
        self._keys.accept(key)
        self._welcome()

    def _welcome(self) -> None:
        self._token = self._asking = None
        self._online = True
        self.link.send(Packet(wire.CNXN, wire.VERSION, wire.MAX_PAYLOAD_BYTES, banner(self._properties())))

    # its streams

    def _open(self, packet: Packet) -> None:
        name = bytes(packet.payload).rstrip(b"\x00").decode(errors="surrogateescape")
        service = self._find(name, self) if packet.arg0 and len(self._streams) < MOST_STREAMS else None
        if service is None:
            self.link.send(Packet(wire.CLSE, 0, packet.arg0))
            return
        stream = self._new_stream(packet.arg0, name)
        self.link.send(Packet(wire.OKAY, stream.local_id, stream.remote_id))
        self.serve(service, stream)

    def _continue(self, packet: Packet) -> None:
        stream = self._streams.get(packet.arg1)
        if stream is None or (stream.remote_id not in (0, packet.arg0) and packet.arg0):
            # A service that has just ended: the other end does not know yet.
            if packet.command == wire.WRTE:
                self.link.send(Packet(wire.CLSE, 0, packet.arg0))
        elif packet.command == wire.WRTE:
            stream.received(packet.payload)
        elif packet.command == wire.OKAY:
            stream.acknowledged(packet.arg0)
        else:
            self._forget(stream)
            self.link.send(Packet(wire.CLSE, stream.local_id, packet.arg0))

    def _new_stream(self, remote_id: int, service: str) -> Stream:
        local_id = next(self._ids)
        stream = Stream(self.link.send, local_id, remote_id, self._max_payload_bytes, service)
        self._streams[local_id] = stream
        return stream

    async def _serve(self, service: Service, stream: Stream) -> None:
        try:
            await service(stream)
            await stream.flushed()
        except LinkLost as error:
            log.debug("%s", error)
        except Exception:
            # One service of one stream; the phone goes on, as adbd would.
            log.exception("service %r of the virtual phone failed", stream.service)
        finally:
            if self._streams.get(stream.local_id) is stream:
                self._forget(stream)
                self.link.send(Packet(wire.CLSE, stream.local_id, stream.remote_id))

    def _forget(self, stream: Stream) -> None:
        self._streams.pop(stream.local_id, None)
        stream.end()

    def _end_streams(self) -> None:
        for stream in list(self._streams.values()):
            self._forget(stream)
