"""Which phones the adb servers have, told as it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from agents.android.adb import Refused, Seen, Server
from farm.errors import LinkLost

log = logging.getLogger(__name__)

_RETRY_SECONDS = 2.0


class Roster:
    """``told``: called with a server and all it has, after every change; with nothing when the server is gone.

    Servers of this machine are started, also after they died; phones on the network that one had are then connected
    again, because it forgets them.
    """

    def __init__(self, servers: tuple[Server, ...], told: Callable[[Server, tuple[Seen, ...]], None]) -> None:
        self._told = told
        self._tasks = [asyncio.create_task(self._follow(server)) for server in servers]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, server: Server) -> None:
        network: set[str] = set()
        said = ""
        while True:
            try:
                await server.ensure()
                for address in sorted(network):
                    with suppress(Refused):
                        await server.ask(f"host:connect:{address}")
                async for seen in server.track():
                    said = ""
                    network = {one.serial for one in seen if _on_network(one.serial)}
                    self._told(server, seen)
            except (LinkLost, Refused) as error:
                if str(error) != said:
                    log.warning("%s", error)
                said = str(error)
            self._told(server, ())
            await asyncio.sleep(_RETRY_SECONDS)


def _on_network(serial: str) -> bool:
    return ":" in serial and serial.rpartition(":")[2].isdecimal()
