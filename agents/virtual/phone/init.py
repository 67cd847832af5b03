"""Process 1 of a virtual phone: makes its root, then starts and reaps what runs in it.

Run as a file by a bare ``python -I -S``: the standard library only, everything imported before the root is changed.
It unshares user, mount, process, IPC, UTS and network namespaces, so it needs no root where the kernel lets users do
that; the caller's user is uid 2000 inside. Process 1 keeps the namespaces' capabilities (it never executes another
program); what it starts has none. When it ends, the kernel ends everything in the phone.

Why not ``unshare``, ``nsenter`` or bubblewrap: one long-lived parent starts a process in 2 ms by a fork, reports exact
exits, makes terminals in the phone's own devpts and can change a mount later; ``nsenter`` stops itself whenever its
child is stopped, which is how the virtual phone throttles, and bubblewrap gives up what binfmt_misc needs.

It speaks over a SOCK_SEQPACKET socket (file descriptor in argv[1]), a JSON object a packet, files by SCM_RIGHTS:
first the plan (as a file), then ``spawn``, ``signal`` and ``resize_data``; see ``agents.virtual.phone.sandbox``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import socket
import struct
import sys
import termios
import time
from typing import Any

SHELL_UID = 2000
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x00020000
CLONE_ALL = CLONE_NEWUSER | CLONE_NEWNS | 0x20000000 | 0x08000000 | 0x04000000 | 0x40000000  # and pid, ipc, uts, net
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    1,
    2,
    4,
    8,
    32,
    4096,
    16384,
    1 << 18,
)
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_NAME = 1, 15
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}[os.uname().machine]
# include/uapi/linux/elf.h: 64-bit little-endian ELF for machine 183, executable or shared object.
AARCH64 = (
    rb":aarch64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    rb":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:%s:F"
)
BINFMT = "/proc/sys/fs/binfmt_misc"
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")

PERIOD_SECONDS = 0.02  # of pausing and resuming what is throttled

libc = ctypes.CDLL(None, use_errno=True)


class Step(Exception):
    """What failed; ``errno`` of the kernel."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(what)
        self.what, self.number = what, number


def check(what: str, result: int) -> None:
    if result < 0:
        raise Step(what, ctypes.get_errno())


def mount(source: str, target: str, kind: str | None, flags: int = 0, options: str = "") -> None:
    arguments = [os.fsencode(text) if text else None for text in (source, target, kind)]
    check(
        f"mount {kind or source} on {target}", libc.mount(*arguments, ctypes.c_ulong(flags), options.encode() or None)
    )


def bind(source: str, target: str) -> None:
    mount(source, target, None, MS_BIND)


def unshare(flags: int, user: int) -> None:
    """Become ``user``, with every capability, in namespaces of one's own."""
    uid, gid = os.geteuid(), os.getegid()
    check("make namespaces", libc.unshare(flags))
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {uid} 1"), ("gid_map", f"{user} {gid} 1")):
        put(f"/proc/self/{name}", text.encode())


def register(qemu: str) -> None:
    """Let arm64 programs run by themselves, in a user namespace around the phone's (its files want a user 0)."""
    unshare(CLONE_NEWUSER | CLONE_NEWNS, 0)
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("none", BINFMT, "binfmt_misc")
    put(f"{BINFMT}/register", AARCH64 % os.fsencode(qemu))


def put(path: str, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    os.write(descriptor, content)
    os.close(descriptor)


def write(path: str, mode: int, content: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120 - pathlib would triple what is imported
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    while content:
        content = content[os.write(descriptor, content) :]
    os.fchmod(descriptor, mode)
    os.close(descriptor)


def read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    parts = []
    while part := os.read(descriptor, 1 << 20):
        parts.append(part)
    os.close(descriptor)
    return b"".join(parts)


def make_root(plan: dict[str, Any]) -> list[int]:
    """Enter the phone's root. Returns descriptors of its writable side, the root as the phone has it, and /proc."""
    root = plan["mount_point"]
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("none", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=64m")
    for path, mode, text in plan["files"]:
        write(root + path, mode, text.encode())
    for path, mode, source in plan["copies"]:
        write(root + path, mode, read(source))
    for path, target in plan["links"]:
        os.makedirs(os.path.dirname(root + path), exist_ok=True)  # noqa: PTH103, PTH120
        os.symlink(target, root + path)  # noqa: PTH211
    for path, _mode in plan["folders"]:
        os.makedirs(root + path, exist_ok=True)  # noqa: PTH103
    for path, mode in reversed(plan["folders"]):
        os.chmod(root + path, mode)  # noqa: PTH101
    writable = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    bind(root, root)  # over the writable one, which stays reachable through its descriptor alone

    mount("none", f"{root}/data", "tmpfs", MS_NOSUID | MS_NODEV, f"mode=111,size={plan['data_bytes']}")
    write(f"{root}/data/.page", 0, b"x")  # what a full /data can be shrunk to: no tmpfs has the size 0
    for path, _mode in plan["data_folders"]:
        os.makedirs(root + path, exist_ok=True)  # noqa: PTH103
    for path, mode in reversed(plan["data_folders"]):
        os.chmod(root + path, mode)  # noqa: PTH101
    mount("none", f"{root}/dev", "tmpfs", MS_NOSUID, "mode=755,size=64k")
    for name in DEVICES:
        write(f"{root}/dev/{name}", 0o666, b"")
        bind(f"/dev/{name}", f"{root}/dev/{name}")
    os.mkdir(root + plan["spool"])  # noqa: PTH102
    mount("none", root + plan["spool"], "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=777,size=64k")
    os.mkdir(f"{root}/dev/pts")  # noqa: PTH102
    mount("none", f"{root}/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    for name, target in (("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd")):
        os.symlink(target, f"{root}/dev/{name}")  # noqa: PTH211
    mount("none", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for source, target in plan["binds"]:
        bind(root + source, root + target)
    mount("none", f"{root}/dev", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID)
    mount("none", root, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)

    os.chdir(root)
    check("change the root", libc.syscall(SYS_PIVOT_ROOT, b".", b"."))
    check("leave the old root", libc.umount2(b".", MNT_DETACH))
    os.chdir("/")
    return [writable, os.open("/", os.O_RDONLY | os.O_DIRECTORY), os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)]


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inet:
        fcntl.ioctl(inet, 0x8914, struct.pack("16sh22x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP


class Init:
    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._names: dict[int, int] = {}  # process -> the caller's number for it
        self._duties: list[tuple[float, int]] = []  # seconds of each period that a process may run, in order
        self._paused: set[int] = set()
        self._period_began = 0.0

    def send(self, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        socket.send_fds(self._link, [json.dumps(message).encode()], descriptors or [])

    def spawn(self, order: dict[str, Any], descriptors: list[int]) -> None:
        master = None
        try:
            if order["terminal"]:
                master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
                fcntl.ioctl(master, 0x40045431, struct.pack("i", 0))  # TIOCSPTLCK: unlock
                number = struct.unpack("I", fcntl.ioctl(master, 0x80045430, bytes(4)))[0]  # TIOCGPTN
                slave = os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY)
                descriptors = [slave] * 3
            heard, said = os.pipe()  # closed by the exec, or the error before it
            process = os.fork()
            if process == 0:
                self._become(order, descriptors, said)
            os.close(said)
            failure = os.read(heard, 16)
            os.close(heard)
            if failure:
                raise OSError(int(failure), "exec")
        except OSError as error:
            self.send({"event": "refused", "name": order["name"], "errno": error.errno})
            return
        finally:
            for descriptor in set(descriptors):
                os.close(descriptor)
        self._names[process] = order["name"]
        started = {"event": "started", "name": order["name"], "process": process}
        self.send(started, [] if master is None else [master])
        if master is not None:
            os.close(master)

    def _become(self, order: dict[str, Any], descriptors: list[int], said: int) -> None:
        """In the child: never returns."""
        try:
            os.setsid()
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
            if order["terminal"]:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            os.closerange(3, said)
            os.closerange(said + 1, 256)
            signal.set_wakeup_fd(-1)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            for caught in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
                signal.signal(caught, signal.SIG_DFL)
            os.umask(0o000)  # as adbd's
            os.chdir(order["folder"])
            os.execve(order["arguments"][0], order["arguments"], order["environment"])  # noqa: S606
        except OSError as error:
            os.write(said, str(error.errno).encode())
        finally:
            os._exit(126)

    def reap(self) -> None:
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if process == 0:
                return
            name = self._names.pop(process, None)
            if name is not None:  # the rest are orphans of theirs
                code = os.waitstatus_to_exitcode(status)
                self.send({"event": "ended", "name": name, "code": 128 - code if code < 0 else code})

    def obey(self) -> bool:
        """One order; False when the caller is gone."""
        packet, descriptors, _flags, _address = socket.recv_fds(self._link, 1 << 20, 3)
        if not packet:
            return False
        order = json.loads(packet)
        match order["order"]:
            case "spawn":
                self.spawn(order, descriptors)
            case "signal":
                with contextlib.suppress(ProcessLookupError):  # it ended by itself
                    os.killpg(order["process"], order["number"])
            case "pace":
                self._duties = sorted((duty * PERIOD_SECONDS, process) for process, duty in order["duties"])
                for process in self._paused - {process for _, process in self._duties}:
                    self._resume(process)
            case "resize-data":
                try:
                    mount("none", "/data", None, MS_REMOUNT | MS_NOSUID | MS_NODEV, f"mode=111,size={order['bytes']}")
                except Step as step:
                    self.send({"event": "failed", "what": step.what, "errno": step.number})
                else:
                    self.send({"event": "resized"})
        return True

    def pace(self) -> float | None:
        """Pause and resume what is paced. Returns the seconds until the next time, None while nothing is."""
        if not self._duties:
            return None
        now = time.monotonic()
        if now - self._period_began >= PERIOD_SECONDS:
            self._period_began = now
            for process in tuple(self._paused):
                self._resume(process)
        passed = now - self._period_began
        for seconds, process in self._duties:
            if seconds > passed:
                return min(seconds, PERIOD_SECONDS) - passed
            if process not in self._paused:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGSTOP)
                    self._paused.add(process)
        return PERIOD_SECONDS - passed

    def _resume(self, process: int) -> None:
        self._paused.discard(process)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)

    def serve(self) -> None:
        ear, mouth = os.pipe()
        os.set_blocking(ear, False)
        os.set_blocking(mouth, False)
        signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        while True:
            ready, _, _ = select.select([self._link.fileno(), ear], [], [], self.pace())
            if ear in ready:
                os.read(ear, 4096)
            self.reap()
            if self._link.fileno() in ready and not self.obey():
                return


def main() -> int:
    for ignored in (signal.SIGINT, signal.SIGHUP):  # a Ctrl-C in the caller's terminal is the caller's business
        signal.signal(ignored, signal.SIG_IGN)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    link = socket.socket(fileno=int(sys.argv[1]))
    init = Init(link)
    try:
        with open(sys.argv[2], encoding="utf-8") as file:  # noqa: PTH123
            plan = json.load(file)
        os.sched_setaffinity(0, plan["cpus"])
        if plan["qemu"]:
            register(plan["qemu"])
        unshare(CLONE_ALL, SHELL_UID)
        first = os.fork()
        if first:
            link.close()
            _, status = os.waitpid(first, 0)
            return os.waitstatus_to_exitcode(status) & 0xFF
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.prctl(PR_SET_NAME, b"init")
        socket.sethostname("localhost")
        raise_loopback()
        init.send({"event": "ready"}, make_root(plan))
        init.serve()
    except Step as step:
        init.send({"event": "failed", "what": step.what, "errno": step.number})
        return 1
    except OSError as error:
        what = f"use {error.filename}" if error.filename else "make the namespaces"
        init.send({"event": "failed", "what": what, "errno": error.errno or errno.EIO})
        return 1
    return 0


if __name__ == "__main__":
    os._exit(main())
