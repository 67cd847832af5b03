"""A virtual phone as a whole: sandbox, world, adb daemon and control socket."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from agents.virtual.phone.adbd.daemon import AdbDaemon
from agents.virtual.phone.control import Control
from agents.virtual.phone.faults import Faults
from agents.virtual.phone.machine import Running
from agents.virtual.phone.profile import load_profile
from agents.virtual.phone.root import ENVIRONMENT, Abi, plan
from agents.virtual.phone.sandbox import Sandbox
from agents.virtual.phone.world import World

SHELL = "/system/bin/sh"


class PhoneMachine(Sandbox):
    """``machine.Machine``: the sandbox with a name and a shell."""

    def __init__(self, folder: Path, serial: str) -> None:
        super().__init__(folder)
        self.serial = serial
        self.properties: Mapping[str, str] = {}

    async def spawn(self, command: str | None, *, terminal: bool, merged: bool) -> Running:
        arguments = [SHELL] if command is None else [SHELL, "-c", command]
        environment = {**ENVIRONMENT, "TERM": "xterm-256color"} if terminal else ENVIRONMENT
        return await self.run(arguments, environment, "/", terminal=terminal, merged=merged)


class VirtualPhone:
    """``profile``: a built-in one's name or a YAML file. ``folder`` is this phone's alone: its control socket and the
    keys it accepts. ``port`` 0 is a free one. ``busybox``: a static one of the phone's ABI in place of this machine's.

    What is on the phone lives in memory, and ends with it.
    """

    def __init__(
        self,
        profile: str,
        abi: Abi,
        folder: Path,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        serial: str | None = None,
        busybox: Path | None = None,
    ) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self.profile = load_profile(profile).on(len(cores))
        self.abi: Abi = abi
        self.faults = Faults()
        self.folder = folder
        self.serial = serial or "virtual" + hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:9]
        self._cpus = cores[: sum(cluster.cores for cluster in self.profile.clusters)]
        self._busybox = busybox
        self.machine = PhoneMachine(folder, self.serial)
        self._adbd = AdbDaemon(self.machine, self.faults, host, port, keys=folder / "adb_keys", reboot=self._reboot)
        self._control = Control(self.faults, folder)
        self._world: World | None = None

    @property
    def port(self) -> int:
        return self._adbd.port

    @property
    def world(self) -> World | None:
        """None while the phone is off."""
        return self._world

    async def start(self) -> None:
        """Raises InfrastructureError or ConfigError, and leaves nothing behind then."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            await self._boot()
            await self._control.start()
            await self._adbd.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        await self._adbd.stop()
        await self._control.stop()
        await self._shut_down()

    async def _boot(self) -> None:
        made = plan(self.profile, self.abi, self._cpus, self.folder, busybox=self._busybox)
        try:
            await self.machine.start(made)
        finally:
            (self.folder / "toybox").unlink()
        self._world = World(self.profile, self.abi, self.serial, self._cpus, self.machine, self.faults)
        self.machine.properties = self._world.services.properties
        await self._world.start(made.data_bytes)

    async def _shut_down(self) -> None:
        if self._world is not None:
            await self._world.stop()
            self._world = None
        await self.machine.stop()

    async def _reboot(self, _mode: str) -> None:
        """Every process ends; storage is empty afterwards, unlike a phone's."""
        await self._shut_down()
        await self._boot()
