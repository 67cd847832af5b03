"""Has an agent's emulators run as long as the agent does: left-overs ended first, each started and awaited, started
anew when it ends, put back to its snapshot after every attempt, and ended with the agent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from agents.android import avds
from agents.android.adb import Server
from agents.android.emulator import Emulators, Running, find_sdk
from agents.android.link import AdbPhone
from farm.config import Avd, Settings
from farm.errors import ConfigError, FarmError

log = logging.getLogger(__name__)

_RETRY_SECONDS = 10.0


class Keeper:
    """``folder``: the agent's state folder. Nothing is done before ``open``, nor where no AVD is declared. Their
    devices go by the AVD's name: ports change."""

    def __init__(self, settings: Settings, folder: Path, servers: tuple[Server, ...]) -> None:
        self._settings, self._folder = settings, folder
        self._server = next((server for server in servers if server.local), None)
        self._emulators: Emulators | None = None
        self._avds: dict[str, Avd] = {}
        self._running: dict[str, Running] = {}
        self._problems: dict[str, str] = {}
        self._booted: dict[str, asyncio.Event] = {}
        self._changed: Callable[[], None] = lambda: None
        self._task: asyncio.Task[None] | None = None

    @property
    def avds(self) -> tuple[str, ...]:
        return tuple(self._avds)

    def open(self, changed: Callable[[], None]) -> None:
        """``changed``: called when a problem came or went. Inside an event loop."""
        self._changed = changed
        try:
            self._avds = {avd.name: avd for avd in avds.declared(self._settings.state_dir, self._settings.agent_avds)}
        except ConfigError as error:
            log.warning("%s", error)
        self._problems = {name: f"the emulator {name} is starting" for name in self._avds}
        self._booted = {name: asyncio.Event() for name in self._avds}
        if self._avds:
            self._task = asyncio.create_task(self._keep_all())

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._emulators:
            await self._emulators.stop_all()

    def device_id(self, avd: str) -> str:
        return f"{self._settings.agent_name}-{avd}"[:100]

    def avd_of(self, server: Server, serial: str) -> str:
        """Empty where it is none of ours."""
        if server is not self._server:
            return ""
        return next((name for name, found in self._running.items() if found.serial == serial), "")

    def problem(self, avd: str) -> str:
        """Why it cannot be used now; empty where it can."""
        return self._problems.get(avd, "")

    async def booted(self, avd: str) -> None:
        """Wait until it is."""
        await self._booted[avd].wait()

    async def reset(self, device_id: str) -> None:
        """Drop what an attempt left there; of a device that is no emulator of ours nothing. One that cannot be put back
        is ended, and started anew."""
        name = next((name for name in self._avds if self.device_id(name) == device_id), "")
        found = self._running.get(name)
        if found is None or self._emulators is None or self._server is None:
            return
        self._note(name, f"the emulator {name} is being put back")
        try:
            await self._emulators.restore(found, self._avds[name])
            if self._avds[name].snapshot is not None:
                await self._emulators.wait_until_booted(found, AdbPhone(self._server, found.serial))
                self._note(name, "")
        except FarmError as error:
            log.warning("%s; it is started anew", error)
            await self._emulators.stop(name)

    async def _keep_all(self) -> None:
        try:
            if self._server is None:
                raise ConfigError(
                    "Emulators need an adb server on their own machine.",
                    remedy="Name one of 127.0.0.1 in agent_adb_servers.",
                )
            self._emulators = Emulators(find_sdk(), self._folder, self._server.port)
        except ConfigError as error:
            log.warning("%s", error)
            for name in self._avds:
                self._note(name, str(error).rstrip("."))
            return
        await self._emulators.stop_all()
        async with asyncio.TaskGroup() as group:
            for avd in self._avds.values():
                group.create_task(self._keep(avd, self._emulators, self._server))

    async def _keep(self, avd: Avd, emulators: Emulators, server: Server) -> None:
        while True:
            try:
                found = self._running[avd.name] = await emulators.start(avd)
                await emulators.wait_until_booted(found, AdbPhone(server, found.serial))
                self._note(avd.name, "")
                await emulators.ended(found)
                log.info("the emulator %s has ended; it is started again", avd.name)
                self._note(avd.name, f"the emulator {avd.name} is starting")
            except FarmError as error:
                if str(error) != self.problem(avd.name):
                    log.warning("%s", error)
                self._note(avd.name, str(error))
                await emulators.stop(avd.name)
                await asyncio.sleep(_RETRY_SECONDS)
            finally:
                self._running.pop(avd.name, None)

    def _note(self, avd: str, problem: str) -> None:
        self._problems[avd] = problem
        if problem:
            self._booted[avd].clear()
        else:
            self._booted[avd].set()
        self._changed()
