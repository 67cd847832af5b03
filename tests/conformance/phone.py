"""A virtual phone's adbd in a thread of its own, and adb servers of one's own: what conformance checks need."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from agents.virtual.phone.adbd import AdbDaemon
from agents.virtual.phone.faults import Faults
from tests.conformance.machine import PlainMachine

T = TypeVar("T")


class Phone:
    """The daemon, and its loop, from outside of it."""

    def __init__(self, folder: Path) -> None:
        self.machine, self.faults = PlainMachine(folder), Faults()
        self.rebooted: list[str] = []
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._folder = folder

    async def _reboot(self, mode: str) -> None:
        self.rebooted.append(mode)

    def do(self, work: Callable[[], Awaitable[T]], timeout_seconds: float = 30.0) -> T:
        async def run() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(timeout_seconds)

    def switch(self, name: str, value: object = True) -> None:
        async def set_it() -> None:
            self.faults.switch(name, value)

        self.do(set_it)

    def start(self) -> None:
        async def make() -> AdbDaemon:
            return AdbDaemon(self.machine, self.faults, keys=self._folder / "adb_keys", reboot=self._reboot)

        self._thread.start()
        self.daemon = self.do(make)
        self.do(self.daemon.start)

    def stop(self) -> None:
        self.do(self.daemon.stop)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.daemon.port}"


@contextmanager
def phone(folder: Path) -> Iterator[Phone]:
    made = Phone(folder)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def programs() -> dict[str, Path]:
    """The adb programs of this machine: the system's, and the one in adbutils' wheel."""
    found: dict[str, Path] = {}
    if system := shutil.which("adb"):
        found["system"] = Path(system)
    spec = find_spec("adbutils")
    if spec and spec.submodule_search_locations:
        wheel = Path(next(iter(spec.submodule_search_locations))) / "binaries" / "adb"
        if wheel.exists():
            found["adbutils"] = wheel
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Adb:
    """An adb server of its own, with its own keys, and its command line. ``home``: an empty folder."""

    def __init__(self, program: Path, home: Path, serial: str) -> None:
        self.program, self.serial, self.port = program, serial, free_port()
        self._home = home
        (home / ".android").mkdir(parents=True, exist_ok=True)
        self.environment = {
            "PATH": os.defpath,
            "HOME": str(home),
            "ANDROID_USER_HOME": str(home / ".android"),
            "ANDROID_ADB_SERVER_PORT": str(self.port),
            "ADB_MDNS": "0",
            "TMPDIR": str(home),
        }

    def start(self) -> None:
        with (self._home / "server.log").open("ab") as log:
            self._server = subprocess.Popen(
                [self.program, "-P", str(self.port), "nodaemon", "server"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(lambda: _listens(self.port))

    def stop(self) -> None:
        self._server.kill()
        self._server.wait(10)

    def __call__(
        self, *arguments: str, timeout_seconds: float = 60.0, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [self.program, "-s", self.serial, *arguments],
            env=self.environment,
            input=stdin,
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
        )

    def ok(self, *arguments: str, timeout_seconds: float = 60.0, stdin: bytes = b"") -> str:
        done = self(*arguments, timeout_seconds=timeout_seconds, stdin=stdin)
        assert done.returncode == 0, (arguments, done.returncode, done.stdout[-500:], done.stderr[-500:])
        return done.stdout.decode()

    def state(self) -> str:
        """As in ``adb devices``; "" where it is not listed."""
        for line in self.ok("devices").splitlines():
            serial, _, state = line.partition("\t")
            if serial == self.serial:
                return state
        return ""

    def connect(self) -> None:
        """The first time, a server of adb says that it failed to authenticate, and is accepted a moment later.

        A phone that was lost is "already connected", and looked for every ten seconds: it is forgotten first.
        """
        self("disconnect", self.serial)
        self.ok("connect", self.serial)
        until(lambda: self.state() == "device")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(true: Callable[[], bool], timeout_seconds: float = 20.0) -> float:
    """Seconds it took."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < timeout_seconds, "it did not come to this in time"
        time.sleep(0.05)
    return time.monotonic() - start
