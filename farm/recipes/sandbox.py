"""What a build's child process may do: entered by the child itself, before it loads anything heavy or foreign.

It cannot outlive its parent, dump core, gain privileges, or reach the network; it reads installed software and its
own folder, and writes only there. Where the kernel refuses the last two, the build goes on and says so.

Sources: unshare(2), prctl(2), capset(2), and the kernel's userspace-api/landlock.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000

_LANDLOCK_CREATE_RULESET = 444  # the same numbers on every architecture
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT_SELF = 446
_EXECUTE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 2, 1 << 3
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE_FILE = 1 << 1
_IOCTL = 1 << 15  # on devices, since version 5
_RIGHTS_OF_ABI = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # how many file rights each version knows
_SCOPES = 0b11  # abstract sockets and signals, since version 6

_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/opt", "/proc", "/sys")
_SETTINGS = ("/etc/ld.so.cache", "/etc/localtime", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

# Between two looks of the parent at the child's memory it may grow; this much more than the limit it may not.
_GROWTH_BYTES = 2**30


@dataclass(frozen=True)
class Isolation:
    """What the kernel granted."""

    network: bool
    files: bool


def enter(
    folder: Path, *, parent: int, memory_bytes: int, gpu: bool = False, readable: Iterable[Path] = ()
) -> Isolation:
    """Confine this process and all its children to ``folder``. Call it while the process has one thread.

    ``readable``: further folders that it may read. With ``gpu`` it may use NVIDIA's devices; its address space has no
    limit then, since CUDA reserves far more than it uses (the parent still watches what is resident)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the line above
        os.kill(os.getpid(), signal.SIGKILL)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what its children leave behind stays below this process
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ceiling = memory_bytes + _GROWTH_BYTES
    if not gpu:
        resource.setrlimit(resource.RLIMIT_DATA, (ceiling, ceiling))
    network = _leave_network(libc)
    files = _confine_files(libc, folder, [*_readable(), *map(str, readable)], gpu=gpu)
    libc.capset(struct.pack("Ii", _CAPABILITY_VERSION_3, 0), bytes(24))  # root's powers, and those in a new namespace
    return Isolation(network, files)


def _leave_network(libc: ctypes.CDLL) -> bool:
    """Move to an empty network namespace; where that needs privileges, inside a user namespace of its own."""
    if libc.unshare(_CLONE_NEWNET) == 0:
        return True
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        try:
            Path("/proc/self", name).write_text(text)
        except OSError:
            break  # unmapped ids do no harm: files are still accessed as the same user
    return True


def _confine_files(libc: ctypes.CDLL, folder: Path, readable: Iterable[str], *, gpu: bool) -> bool:
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    rights = (1 << _RIGHTS_OF_ABI.get(version, 16)) - 1
    attributes = struct.pack("QQQ", rights, 0, _SCOPES)
    size = len(attributes) if version >= 6 else 8
    rules = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0)
    if rules < 0:
        return False
    try:
        granted = [_allow(libc, rules, path, _READ) for path in readable]
        granted += [_allow(libc, rules, path, _READ_FILE | _WRITE_FILE) for path in _DEVICES]
        if gpu:
            devices = map(str, Path("/dev").glob("nvidia*"))
            granted += [_allow(libc, rules, path, rights & (_READ_FILE | _WRITE_FILE | _IOCTL)) for path in devices]
        confined = _allow(libc, rules, str(folder), rights) and any(granted)
        return confined and libc.syscall(_LANDLOCK_RESTRICT_SELF, rules, 0) == 0
    finally:
        os.close(rules)


def _readable() -> Iterable[str]:
    """The system, this Python and its packages; of a source tree only the package, not what lies beside it."""
    package = Path(__file__).resolve().parent.parent
    paths = {
        *_SYSTEM,
        *_SETTINGS,
        sys.prefix,
        sys.base_prefix,
        str(package),
        *os.environ.get("LD_LIBRARY_PATH", "").split(":"),
    }
    paths.update(path for path in sys.path if Path(path).resolve() != package.parent)
    if package.parent.name in ("site-packages", "dist-packages"):
        paths.add(str(package.parent))
    return sorted(path for path in paths if path and Path(path).exists())


def _allow(libc: ctypes.CDLL, rules: int, path: str, rights: int) -> bool:
    if not Path(path).is_dir():
        rights &= _EXECUTE | _READ_FILE | _WRITE_FILE | _IOCTL
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        rule = struct.pack("=Qi", rights, handle)  # the kernel's structure is packed
        return bool(libc.syscall(_LANDLOCK_ADD_RULE, rules, 1, rule, 0) == 0)
    finally:
        os.close(handle)
