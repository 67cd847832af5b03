"""A phone's processes and files on this machine: namespaces made and kept by ``init.py``, its process 1.

Only Linux has them. The phone's user is uid 2000 without any capability; files belong to it, so what it may not touch
is read-only by mount or by mode.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import socket
import stat
import struct
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from farm.errors import InfrastructureError

INIT = Path(__file__).with_name("init.py")
START_SECONDS = 10.0
ORDER_SECONDS = 10.0
HANG_UP_SECONDS = 0.2  # between SIGHUP and SIGKILL
MOST_LINKS = 40  # as the kernel
SIGHUP, SIGKILL = 1, 9


@dataclass
class Plan:
    """What a root is made of. Paths are the phone's; modes are what the shell user sees of its own files."""

    cpus: Sequence[int]  # of this machine, that the phone may use
    data_bytes: int
    qemu: str | None = None  # runs arm64 programs
    files: list[tuple[str, int, str]] = field(default_factory=list)  # path, mode, text
    copies: list[tuple[str, int, str]] = field(default_factory=list)  # path, mode, file on this machine
    links: list[tuple[str, str]] = field(default_factory=list)
    folders: list[tuple[str, int]] = field(default_factory=list)  # outer ones first
    data_folders: list[tuple[str, int]] = field(default_factory=list)  # within /data
    binds: list[tuple[str, str]] = field(default_factory=list)  # a file of the root over one of /proc
    spool: str = "/dev/world"  # a small folder that everyone may write


class Process:
    """``machine.Running``."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._process = 0  # known once it started
        self._master: int | None = None
        self.stdin: asyncio.StreamWriter | None = None
        self.stdout: asyncio.StreamReader = asyncio.StreamReader()
        self.stderr: asyncio.StreamReader | None = None
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        code = await asyncio.shield(self.ended)
        if self._master is not None:
            os.close(self._master)
            self._master = None
        return code

    def kill(self) -> None:
        self._sandbox.signal(self._process, SIGHUP)
        asyncio.get_running_loop().call_later(HANG_UP_SECONDS, self._sandbox.signal, self._process, SIGKILL)

    def resize(self, rows: int, columns: int) -> None:
        if self._master is not None:
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class Sandbox:
    """``root`` is the phone's root as the phone has it, ``writable`` the same for whoever keeps its views current, and
    ``processes`` its /proc: descriptors of folders, for ``dir_fd``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._init: asyncio.subprocess.Process | None = None
        self._link: socket.socket | None = None
        self._running: dict[int, Process] = {}
        self._waiting: dict[int | str, asyncio.Future[tuple[dict[str, Any], list[int]]]] = {}
        self._count = 0
        self._order = asyncio.Lock()
        self.root = self.writable = self.processes = -1

    async def start(self, plan: Plan) -> None:
        """Raises InfrastructureError that says what this machine does not allow."""
        mount_point = self._folder / "root"
        mount_point.mkdir(parents=True, exist_ok=True)
        plan_file = self._folder / "plan.json"
        plan_file.write_text(json.dumps({**asdict(plan), "mount_point": str(mount_point.resolve())}), encoding="utf-8")
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link.setblocking(False)
        loop = asyncio.get_running_loop()
        ready = self._waiting["ready"] = loop.create_future()
        with theirs:
            self._init = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", str(INIT), str(theirs.fileno()), str(plan_file)),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                env={},
            )
        loop.add_reader(self._link, self._receive)
        try:
            async with asyncio.timeout(START_SECONDS):
                message, descriptors = await ready
        except TimeoutError:
            await self.stop()
            raise InfrastructureError(
                f"The virtual phone did not start within {START_SECONDS:g} s.",
                remedy="See what keeps this machine busy.",
            ) from None
        if message["event"] != "ready":
            await self.stop()
            raise refusal(message["what"], message["errno"])
        self.writable, self.root, self.processes = descriptors

    async def stop(self) -> None:
        """End every process of the phone. May be called twice."""
        if self._link is not None:
            asyncio.get_running_loop().remove_reader(self._link)
            self._link.close()  # process 1 ends when it sees that
            self._link = None
        if self._init is not None:
            try:
                async with asyncio.timeout(2):
                    await self._init.wait()
            except TimeoutError:
                self._init.kill()
                await self._init.wait()
            self._init = None
        self._lost()
        for descriptor in (self.root, self.writable, self.processes):
            if descriptor >= 0:
                os.close(descriptor)
        self.root = self.writable = self.processes = -1
        with contextlib.suppress(FileNotFoundError):
            (self._folder / "plan.json").unlink()
            (self._folder / "root").rmdir()

    async def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], folder: str, *, terminal: bool, merged: bool
    ) -> Process:
        """Start a program of the phone in a session of its own."""
        ours: list[int] = []
        theirs: list[int] = []
        name = self._count = self._count + 1
        process = self._running[name] = Process(self)
        try:
            if not terminal:
                for writing in (True, False, False)[: 2 if merged else 3]:
                    reader, writer = os.pipe()
                    ours.append(writer if writing else reader)
                    theirs.append(reader if writing else writer)
            order = {
                "order": "spawn",
                "arguments": list(arguments),
                "environment": dict(environment),
                "folder": folder,
                "terminal": terminal,
            }
            message, received = await self._ask(
                name, {**order, "name": name}, [*theirs, theirs[1]] if merged and theirs else theirs
            )
        except BaseException:
            self._running.pop(name, None)
            for descriptor in ours:
                os.close(descriptor)
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        if message["event"] != "started":
            self._running.pop(name, None)
            for descriptor in ours:
                os.close(descriptor)
            raise OSError(message["errno"], os.strerror(message["errno"]), arguments[0])
        process._process = message["process"]
        if terminal:
            process._master = received[0]
            ours = [os.dup(received[0]), os.dup(received[0])]
        process.stdin = await _writer(ours[0])
        await _feed(process.stdout, ours[1])
        if len(ours) > 2:
            process.stderr = asyncio.StreamReader()
            await _feed(process.stderr, ours[2])
        return process

    async def resize_data(self, size_bytes: int) -> None:
        """Raises OSError(EINVAL) when more than that is on /data."""
        message, _ = await self._ask("resize", {"order": "resize-data", "bytes": size_bytes}, [])
        if message["event"] == "failed":
            raise OSError(message["errno"], os.strerror(message["errno"]), "/data")

    def signal(self, process: int, number: int) -> None:
        """To a process of ``spawn`` and its group; nothing when they are gone."""
        if self._link is not None:
            with contextlib.suppress(OSError):  # ended in this moment
                self._link.send(json.dumps({"order": "signal", "process": process, "number": number}).encode())

    async def _ask(
        self, key: int | str, order: dict[str, Any], descriptors: list[int]
    ) -> tuple[dict[str, Any], list[int]]:
        async with self._order:
            if self._link is None:
                raise off()
            answer = self._waiting[key] = asyncio.get_running_loop().create_future()
            try:
                socket.send_fds(self._link, [json.dumps(order).encode()], descriptors)
                async with asyncio.timeout(ORDER_SECONDS):
                    found: tuple[dict[str, Any], list[int]] = await answer
                    return found
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    raise OSError(errno.E2BIG, os.strerror(errno.E2BIG)) from error
                raise off() from error
            finally:
                self._waiting.pop(key, None)

    def pace(self, duties: Mapping[int, float]) -> None:
        """Let these processes (the phone's numbers) run for these shares of the time only, all others freely."""
        if self._link is not None:
            with contextlib.suppress(OSError):  # ended in this moment
                self._link.send(json.dumps({"order": "pace", "duties": list(duties.items())}).encode())

    def _receive(self) -> None:
        link = self._link
        while link is not None:
            try:
                packet, descriptors, _flags, _address = socket.recv_fds(link, 1 << 16, 3)
            except BlockingIOError:
                return
            except OSError:
                packet, descriptors = b"", []
            if not packet:
                asyncio.get_running_loop().remove_reader(link)
                self._lost()
                return
            self._take(json.loads(packet), descriptors)

    def _take(self, message: dict[str, Any], descriptors: list[int]) -> None:
        key: int | str
        match message["event"]:
            case "ended":
                process = self._running.pop(message["name"], None)
                if process is not None and not process.ended.done():
                    process.ended.set_result(message["code"])
                return
            case "started" | "refused":
                key = message["name"]
            case _:
                key = "ready" if "ready" in self._waiting else "resize"
        waiting = self._waiting.pop(key, None)
        if waiting is not None and not waiting.done():
            waiting.set_result((message, descriptors))
        else:
            for descriptor in descriptors:
                os.close(descriptor)

    def _lost(self) -> None:
        """Process 1 is gone, and with it every other."""
        for process in self._running.values():
            if not process.ended.done():
                process.ended.set_result(128 + SIGKILL)
        self._running.clear()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(({"event": "failed", "what": "start process 1", "errno": errno.ESRCH}, []))
        self._waiting.clear()

    # files

    def resolve(self, path: str, *, follow: bool = True) -> Path:
        """``machine.Machine.resolve``. The answer holds in this process, as long as the phone is on."""
        if self.root < 0:
            raise off()
        base = Path(f"/proc/self/fd/{self.root}")
        if not path.startswith("/"):
            raise OSError(errno.ENOENT, "no absolute path", path)
        pending = list(reversed(PurePosixPath(path).parts[1:]))
        found: list[str] = []
        links = 0
        while pending:
            part = pending.pop()
            if part == "..":
                found = found[:-1]
                continue
            here = base.joinpath(*found)
            if not _owner_may(here, stat.S_IXUSR):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)
            try:
                target = (here / part).readlink() if pending or follow else None
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOENT):  # no link, not there
                    raise OSError(error.errno, error.strerror, path) from error
                target = None
            if target is None:
                found.append(part)
                continue
            links += 1
            if links > MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            parts = PurePosixPath(target).parts
            if parts[:1] == ("/",):
                found, parts = [], parts[1:]
            pending += reversed(parts)
        return base.joinpath(*found)

    def check_read(self, path: str) -> None:
        there = self.resolve(path)
        there.stat()
        if not _owner_may(there, stat.S_IRUSR):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)

    def check_write(self, path: str) -> None:
        there = self.resolve(path)
        exists = there.exists()
        nearest = there if exists else next(folder for folder in there.parents if folder.exists())
        system = os.statvfs(nearest)
        read_only = bool(system.f_flag & os.ST_RDONLY)
        if read_only and not exists:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        if not _owner_may(nearest, stat.S_IWUSR):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)
        if read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        if system.f_bavail == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def free_bytes(self) -> int:
        system = os.statvfs(self.resolve("/data"))
        return system.f_bavail * system.f_frsize


def off() -> InfrastructureError:
    return InfrastructureError("The virtual phone is off.", remedy="Start it again.")


def refusal(what: str, number: int) -> InfrastructureError:
    """Why this machine has no virtual phone, worded for who can change it."""
    remedy = "See the kernel's log; docs/virtual-phone.md lists what a virtual phone needs."
    if number in (errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EUSERS):
        remedy = (
            "Allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone=1, on Ubuntu "
            "kernel.apparmor_restrict_unprivileged_userns=0), or in a container run it with --privileged."
        )
    if "binfmt_misc" in what:
        remedy = (
            "arm64-v8a needs Linux 6.7 (binfmt_misc in user namespaces), or as root Debian's package qemu-user-binfmt; "
            "--abi x86_64 needs neither."
        )
    return InfrastructureError(f"The virtual phone cannot {what}: {os.strerror(number)}.", remedy=remedy)


def _owner_may(path: Path, bit: int) -> bool:
    """Every file is the shell user's own, except what is of the kernel (/proc, /dev): the mode says it for both."""
    try:
        found = path.stat()
    except FileNotFoundError:
        if bit == stat.S_IXUSR:
            return True  # what is not there says so by itself
        raise
    return bool(found.st_mode & (bit if found.st_uid == os.geteuid() else bit >> 6))


async def _feed(reader: asyncio.StreamReader, descriptor: int) -> None:
    file = os.fdopen(descriptor, "rb", buffering=0)
    await asyncio.get_running_loop().connect_read_pipe(lambda: _Ending(reader), file)


async def _writer(descriptor: int) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    file = os.fdopen(descriptor, "wb", buffering=0)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, file)
    return asyncio.StreamWriter(transport, protocol, None, loop)


class _Ending(asyncio.StreamReaderProtocol):
    """A terminal whose programs all ended reads EIO: that is its end of file."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(None if isinstance(exc, OSError) and exc.errno == errno.EIO else exc)
