"""Android emulators of this machine's SDK: started headless when they are wanted, reset after a run, ended for certain.

``Emulators`` holds one process an AVD. What it started is written down in ``emulators/<avd>.json`` of the agent's state
folder with the process's start time, so that one left behind by a crash is found by exactly that process and ended.
An emulator takes a console port and the adb port after it, even and odd, from 5554 to 5682: adb servers look there.
The console (a line protocol on that port) asks for the token in ``~/.emulator_console_auth_token``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from agents import command
from agents.android.phone import Phone
from farm.config import Avd
from farm.errors import ConfigError, DeviceError, DeviceTimeout, FarmError, InfrastructureError, LinkLost

BOOT_SECONDS = 300.0  # cold, on a machine without much to spare
_POLL_SECONDS = 1.0
_CONSOLE_SECONDS = 60.0  # a snapshot of gigabytes is loaded
_END_SECONDS = 20.0  # it writes its disks
_PORTS = range(5554, 5682, 2)
_TOKEN = ".emulator_console_auth_token"  # noqa: S105 - the file's name
_TAIL_BYTES = 1500
_KVM = Path("/dev/kvm")


@dataclass(frozen=True)
class Sdk:
    emulator: Path
    home: Path


def find_sdk(environment: Mapping[str, str] = os.environ) -> Sdk:
    """By ANDROID_HOME or ANDROID_SDK_ROOT, else ``emulator`` on the PATH. Raises ConfigError with what to do."""
    homes = [Path(environment[name]) for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT") if environment.get(name)]
    for home in homes:
        program = home / "emulator" / "emulator"
        if os.access(program, os.X_OK):
            return Sdk(program, home)
    if not homes and (found := shutil.which("emulator", path=environment.get("PATH"))):
        return Sdk(Path(found), Path(found).resolve().parents[1])
    where = f"{' and '.join(map(str, homes))} {'holds' if len(homes) == 1 else 'hold'} no emulator/emulator"
    raise ConfigError(
        f"There is no Android emulator here: {where if homes else 'ANDROID_HOME is not set'}.",
        remedy="Install the SDK's packages emulator and a system image with sdkmanager, and set ANDROID_HOME.",
    )


@dataclass(frozen=True)
class Running:
    """``started_at_seconds``: of the process, since the epoch, as the kernel tells it."""

    avd: str
    pid: int
    started_at_seconds: float
    console_port: int

    @property
    def serial(self) -> str:
        """As adb calls it."""
        return f"emulator-{self.console_port}"


class Emulators:
    """``folder``: the agent's state folder. ``home``: where the console's token lies. ``adb_port``: of the adb server
    that is to see them."""

    def __init__(
        self,
        sdk: Sdk,
        folder: Path,
        adb_port: int = 5037,
        home: Path | None = None,
        kvm: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._sdk, self._folder, self._adb_port = sdk, folder / "emulators", adb_port
        self._home = home or Path.home()
        self._kvm = kvm or _KVM
        self._environment = dict(os.environ if environment is None else environment)
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._starting = asyncio.Lock()  # two must not choose one port

    async def names(self) -> tuple[str, ...]:
        """The AVDs of this user. Raises InfrastructureError."""
        process = await asyncio.create_subprocess_exec(
            self._sdk.emulator,
            "-list-avds",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=self._environment,
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), _CONSOLE_SECONDS)
        except TimeoutError as error:
            process.kill()
            raise InfrastructureError(
                f"`{self._sdk.emulator} -list-avds` does not end.", remedy="Run it by hand; reinstall the SDK."
            ) from error
        return tuple(line.strip() for line in said.decode().splitlines() if line.strip() and " " not in line.strip())

    def running(self, avd: str) -> Running | None:
        """As it was written down, if that very process lives."""
        try:
            found = Running(**json.loads((self._folder / f"{avd}.json").read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            return None  # cut while it was written: nothing was started yet
        return found if _alive(found) else None

    async def start(self, avd: Avd) -> Running:
        """Have it run; one that does already stays. It is not booted yet: ``wait_until_booted``.

        Raises ConfigError (no such AVD, no KVM), InfrastructureError.
        """
        async with self._starting:
            if found := self.running(avd.name):
                return found
            await self.check(avd)
            return await self._launch(avd)

    async def check(self, avd: Avd) -> None:
        """Whether it could be started. Raises ConfigError (no such AVD, no KVM), InfrastructureError."""
        if not os.access(self._kvm, os.R_OK | os.W_OK):
            why = "may not be used" if self._kvm.exists() else "is missing"
            raise ConfigError(
                f"The emulator needs {self._kvm}, which {why}.",
                remedy="Enable virtualization (in a VM: nested), load the kvm module, and put the agent's user "
                "into the group kvm.",
            )
        if avd.name not in (names := await self.names()):
            raise ConfigError(
                f"There is no AVD {avd.name}; there {'are ' + ', '.join(names) if names else 'is none'}.",
                remedy="Make it with `avdmanager create avd`, as the agent's user, or correct agent_avds.",
            )

    async def _launch(self, avd: Avd) -> Running:
        self._folder.mkdir(parents=True, exist_ok=True)
        others = (self.running(path.stem) for path in self._folder.glob("*.json"))
        taken = {each.console_port for each in others if each}  # they may not have opened it yet
        port = _free_port([port for port in _PORTS if port not in taken])
        snapshot = ["-snapshot", avd.snapshot, "-no-snapshot-save"] if avd.snapshot else ["-no-snapshot", "-wipe-data"]
        log = self._folder / f"{avd.name}.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                self._sdk.emulator,
                *("-avd", avd.name, "-port", str(port)),
                *("-no-window", "-no-audio", "-no-boot-anim"),
                *snapshot,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=asyncio.subprocess.STDOUT,
                env=self._environment | {"ANDROID_ADB_SERVER_PORT": str(self._adb_port)},
                start_new_session=True,
            )
        try:
            started_at_seconds = psutil.Process(process.pid).create_time()
        except psutil.NoSuchProcess:
            raise self._gone(avd.name) from None
        found = Running(avd.name, process.pid, started_at_seconds, port)
        part = self._folder / f"{avd.name}.part"
        part.write_text(json.dumps(asdict(found)))
        part.replace(self._folder / f"{avd.name}.json")
        self._processes[avd.name] = process
        return found

    async def wait_until_booted(self, found: Running, phone: Phone, timeout_seconds: float = BOOT_SECONDS) -> None:
        """Until Android says that it is up. Raises DeviceTimeout, InfrastructureError (the emulator has ended)."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    if not _alive(found):
                        raise self._gone(found.avd)
                    with contextlib.suppress(LinkLost, DeviceError):  # not there yet
                        said = await phone.shell("getprop sys.boot_completed")
                        if said.stdout.strip() == "1":
                            return
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            raise DeviceTimeout(
                f"The emulator {found.avd} has not booted in {timeout_seconds:g} s.",
                remedy=f"Look at {self._folder / found.avd}.log; has the machine memory and CPUs to spare?",
            ) from error

    async def restore(self, found: Running, avd: Avd) -> None:
        """Back to the snapshot, so that nothing of a run stays; without one it is ended, and starts wiped.

        Raises InfrastructureError, DeviceError (the console refuses).
        """
        if avd.snapshot is None:
            await self.stop(avd.name)
        else:
            await self._console(found, f"avd snapshot load {avd.snapshot}")

    async def ended(self, found: Running) -> None:
        """Wait until it has, by itself or by ``stop``."""
        if _alive(found):
            await command.ended(found.pid)

    async def stop(self, avd: str) -> None:
        """End it with all its processes; nothing where it does not run."""
        if found := self.running(avd):
            with contextlib.suppress(FarmError):  # one that does not listen is killed
                await self._console(found, "kill")
            await self._ended(found, _END_SECONDS)
            if _alive(found):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(found.pid, signal.SIGKILL)
                await self._ended(found, _END_SECONDS)
        if process := self._processes.pop(avd, None):
            await process.wait()
        (self._folder / f"{avd}.json").unlink(missing_ok=True)

    async def stop_all(self) -> None:
        """Also those that an agent which crashed has left: to be called at start and at the end."""
        for path in sorted(self._folder.glob("*.json")):
            await self.stop(path.stem)

    async def _ended(self, found: Running, timeout_seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                if _alive(found):
                    await command.ended(found.pid)

    async def _console(self, found: Running, order: str) -> str:
        """Say one thing to the console, which greets with OK, asks for its token, and answers OK or KO: reason."""
        writer = None
        try:
            async with asyncio.timeout(_CONSOLE_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", found.console_port)
                greeting = await _answer(reader)
                if "auth" in greeting:
                    writer.write(f"auth {self._token()}\n".encode())
                    await _answer(reader)
                writer.write(f"{order}\n".encode())
                return await _answer(reader) if order != "kill" else ""
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            raise InfrastructureError(
                f"The console of the emulator {found.avd} (port {found.console_port}) does not answer: {error!r}.",
                remedy="It is started anew; look at its log if that happens often.",
            ) from error
        finally:
            if writer:
                writer.close()

    def _token(self) -> str:
        path = self._home / _TOKEN
        try:
            return path.read_text().strip()
        except OSError as error:
            raise InfrastructureError(
                f"The emulator's console wants the token in {path}: {error.strerror}.",
                remedy="The emulator makes it: run agent and emulator as one user.",
            ) from error

    def _gone(self, avd: str) -> InfrastructureError:
        content = (self._folder / f"{avd}.log").read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
        return InfrastructureError(
            f"The emulator {avd} has ended: {content or 'it said nothing'}.",
            remedy=f"Run `{self._sdk.emulator} -avd {avd} -no-window` by hand, and correct what it says.",
        )


async def _answer(reader: asyncio.StreamReader) -> str:
    """All lines up to OK. Raises DeviceError at KO."""
    said: list[str] = []
    while True:
        line = (await reader.readuntil(b"\n")).decode(errors="replace").strip()
        if line == "OK":
            return "\n".join(said).lower()
        if line.startswith("KO"):
            raise DeviceError(
                f"The emulator's console refuses: {line[2:].lstrip(': ')}.",
                remedy="Does the snapshot exist? `adb emu avd snapshot save NAME` makes it.",
            )
        said.append(line)


def _alive(found: Running) -> bool:
    """Whether that very process runs, not a later one with its number."""
    try:
        process = psutil.Process(found.pid)
        same = abs(process.create_time() - found.started_at_seconds) < 0.05
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _free_port(ports: Sequence[int]) -> int:
    """Raises InfrastructureError."""
    for port in ports:
        if all(map(_is_free, (port, port + 1))):
            return port
    raise InfrastructureError(
        f"No pair of ports from {_PORTS[0]} to {_PORTS[-1] + 1} is free for an emulator.",
        remedy="End emulators that are not needed.",
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
