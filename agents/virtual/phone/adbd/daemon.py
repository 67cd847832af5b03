"""adbd itself: where adb servers connect, and what the faults do to them."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from agents.virtual.phone.adbd.auth import AcceptedKeys
from agents.virtual.phone.adbd.connection import Connection
from agents.virtual.phone.adbd.link import Link
from agents.virtual.phone.adbd.reverse import Reverse
from agents.virtual.phone.adbd.services import Services
from agents.virtual.phone.faults import Faults
from agents.virtual.phone.machine import Machine
from farm.errors import InfrastructureError

_STOP_SECONDS = 10.0

log = logging.getLogger(__name__)


class AdbDaemon:
    """``port`` 0: a free one, to be read after ``start``. ``keys``: file of the accepted keys.

    ``reboot``: what the phone does between the loss of its connections and the next it accepts; it is given the mode,
    "" or as in ``adb reboot MODE``. None: it is back at once.
    """

    def __init__(
        self,
        machine: Machine,
        faults: Faults,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        keys: Path | None = None,
        reboot: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._machine, self._faults, self._host, self._port, self._reboot = machine, faults, host, port, reboot
        self._keys, self._reverse = AcceptedKeys(keys), Reverse()
        self._services = Services(machine, self._reverse, lambda: self._port, self._restart)
        self._place: socket.socket | None = None  # keeps the port ours, also while nothing is accepted
        self._server: asyncio.Server | None = None
        self.connections: set[Connection] = set()  # of adb servers, authorized or not
        self._ending: set[Connection] = set()  # cut, but their services are not through
        self._restarting: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._unwatch: Callable[[], None] | None = None

    @property
    def port(self) -> int:
        return self._port

    async def start(self) -> None:
        """Raises InfrastructureError when the port is taken."""
        if self._port:
            _bound(self._host, self._port, shared=False).close()  # nobody else's
        self._place = _bound(self._host, self._port)
        self._port = self._place.getsockname()[1]
        self._unwatch = self._faults.watch(self._fault_changed)
        await self._listen_as_told()

    async def stop(self) -> None:
        """Cuts everyone off and ends what they had running."""
        if self._unwatch:
            self._unwatch()
            self._unwatch = None
        if self._restarting:
            self._restarting.cancel()
        async with self._changing:
            self._close_server()
            self._cut()
        if self._place:
            self._place.close()
            self._place = None
        ending = [asyncio.create_task(connection.ended()) for connection in self._ending]
        if ending:
            await asyncio.wait(ending, timeout=_STOP_SECONDS)
        for connection in tuple(self._ending):
            connection.cancel()

    # connections

    def _accept(self) -> Link:
        connection = Connection(self._faults, self._keys, self._properties, self._services.find, self._lost)
        self.connections.add(connection)
        return connection.link

    def _properties(self) -> Mapping[str, str]:
        return self._machine.properties

    def _lost(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._reverse.forget(connection)
        self._ending.add(connection)
        self._spawn(self._await_end(connection))

    async def _await_end(self, connection: Connection) -> None:
        await connection.ended()
        self._ending.discard(connection)

    def _cut(self) -> None:
        for connection in tuple(self.connections):
            connection.link.cut()

    async def _listen_as_told(self) -> None:
        async with self._changing:
            wanted = not self._faults.unplug and self._restarting is None and self._place is not None
            if wanted and self._server is None:
                listener = _bound(self._host, self._port)
                self._server = await asyncio.get_running_loop().create_server(self._accept, sock=listener)
            elif not wanted:
                self._close_server()

    def _close_server(self) -> None:
        if self._server:
            self._server.close()
            self._server = None

    # faults and restarts

    def _fault_changed(self, name: str) -> None:
        if name == "unplug":
            self._spawn(self._listen_as_told())
            if self._faults.unplug:
                self._cut()
        elif name == "offline":
            if self._faults.offline:
                self._cut()  # the server connects again, and is told nothing
        elif name == "unauthorized" and self._faults.unauthorized:
            self._keys.forget()
            self._cut()
        for connection in tuple(self.connections):
            connection.fault_changed()

    def _restart(self, mode: str) -> None:
        if self._restarting is None:
            self._restarting = asyncio.create_task(self._go_down_and_up(mode))

    async def _go_down_and_up(self, mode: str) -> None:
        await self._listen_as_told()
        self._cut()
        if self._reboot:
            await self._reboot(mode)
        self._restarting = None
        await self._listen_as_told()

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _bound(host: str, port: int, *, shared: bool = True) -> socket.socket:
    """``shared``: between two of our sockets, of which one only keeps the port."""
    # asyncio switches Nagle's delays off only where TCP is named: small packets would take 40 ms each.
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise InfrastructureError(
            f"The virtual phone cannot listen at {host}:{port}: {error.strerror}.", remedy="Choose another port, or 0."
        ) from error
    return found
