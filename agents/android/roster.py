"""Which phones the adb servers have, told as it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from agents.android.adb import Refused, Seen, Server
from farm.errors import LinkLost

log = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0
_LOOK_SECONDS = 1.0


class Roster:
    """``told``: called with a server and all it has, after every change; with nothing when the server is gone.

    Servers of this machine are started, also after they died. Phones on the network are connected again when their
    link was cut, which leaves them offline, and when their server forgot them by dying; one that somebody disconnects
    stays so.
    """

    def __init__(self, servers: tuple[Server, ...], told: Callable[[Server, tuple[Seen, ...]], None]) -> None:
        self._told = told
        self._last: dict[Server, tuple[Seen, ...]] = dict.fromkeys(servers, ())
        self._network: dict[Server, dict[str, str]] = {server: {} for server in servers}  # address -> state
        self._tasks = [asyncio.create_task(work(server)) for server in servers for work in (self._follow, self._mend)]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, server: Server) -> None:
        said = ""
        while True:
            try:
                await server.ensure()
                async for seen in server.track():
                    said = ""
                    self._take(server, seen)
            except (LinkLost, Refused) as error:
                if str(error) != said:
                    log.warning("%s", error)
                said = str(error)
            network = self._network[server]
            self._take(server, ())
            self._network[server] = dict.fromkeys(network, "offline")
            await asyncio.sleep(_RETRY_SECONDS)

    def _take(self, server: Server, seen: tuple[Seen, ...]) -> None:
        if seen == self._last[server]:
            return
        self._last[server] = seen
        now = {one.serial: one.state for one in seen if _on_network(one.serial)}
        # What is cut is offline first; what vanishes from its best state was disconnected by somebody.
        before = {address: state for address, state in self._network[server].items() if state != "device"}
        self._network[server] = before | now
        self._told(server, seen)

    async def _mend(self, server: Server) -> None:
        before: set[str] = set()
        looks = 0
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            looks += 1
            try:
                self._take(server, await server.devices())
                if looks % 2:
                    continue
                offline = {address for address, state in self._network[server].items() if state == "offline"}
                # Also one that is just being connected is offline, for a moment.
                due, before = offline & before, offline - before
                for address in sorted(due):
                    await server.connect(address)
            except (LinkLost, Refused) as error:
                log.debug("%s", error)


def _on_network(serial: str) -> bool:
    return ":" in serial and serial.rpartition(":")[2].isdecimal()
