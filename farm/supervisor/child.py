"""A process that is kept running, and ended with all it started."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

log = logging.getLogger(__name__)

_STOP_SECONDS = 10.0
_KILL_POLL_SECONDS = 0.02
_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 10.0  # which an outage, of the database say, takes at most longer
_PR_SET_PDEATHSIG = 1  # prctl(2)
_libc = ctypes.CDLL(None)


class Child:
    """A process that is started again when it ends, later and later while it ends early."""

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], log_folder: Path) -> None:
        self.name = name
        self._command = command
        self._environment = environment  # read at each start
        self.log_path = log_folder / f"{name}.log"
        self._pid_path = pid_path(name, log_folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._backoff_seconds = _FIRST_BACKOFF_SECONDS
        self._started_seconds = self._due_seconds = 0.0

    def start(self) -> None:
        end_predecessor(self._pid_path)
        with self.log_path.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                env=os.environ | dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - the supervisor has one thread
            )
        self._started_seconds = time.monotonic()
        try:
            self._pid_path.write_text(f"{self._process.pid} {_created(self._process.pid)} {_boot()}")
        except OSError as error:  # a full disk: what it is for can wait
            log.warning("%s could not be written: %s", self._pid_path, error)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def keep_running(self) -> bool:
        """Start it again if it has ended and its time has come; whether it was."""
        if self.running:
            return False
        now = time.monotonic()
        if self._process is not None:
            log.warning("%s ended with %s, see %s", self.name, self._process.returncode, self.log_path)
            if now - self._started_seconds > _LONGEST_BACKOFF_SECONDS:
                self._backoff_seconds = _FIRST_BACKOFF_SECONDS
            self._due_seconds = now + self._backoff_seconds
            self._backoff_seconds = min(self._backoff_seconds * 2, _LONGEST_BACKOFF_SECONDS)
            self._process = None
        if now < self._due_seconds:
            return False
        self.start()
        return True

    def stop(self) -> None:
        """SIGTERM, then SIGKILL to its whole session."""
        if self._process is None:
            return
        if self.running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to its whole session: for what is made to crash and would wait in vain for others to say goodbye."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(_STOP_SECONDS)
        self._process = None

    def last_words(self, lines: int = 5) -> str:
        """The end of its log, for messages."""
        try:
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""


def pid_path(name: str, log_folder: Path) -> Path:
    """Where the process of the child of that name is noted."""
    return log_folder / f"{name}.pid"


def end_predecessor(path: Path) -> None:
    """What an earlier life of a child, or of its supervisor, left running would be in its way: a Ray node takes half a
    minute to end by itself and holds its port meanwhile. ``path``: ``pid_path``."""
    try:
        number, created, boot = path.read_text().split()
    except (OSError, ValueError):  # there was none, or it could not be noted
        return
    pid = int(number)
    # A number is not given again while a process group has it, but after a restart of the machine it is.
    if boot != _boot() or _created(pid) not in (None, created):
        return
    deadline_seconds = time.monotonic() + _STOP_SECONDS
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline_seconds:  # until the last of them is gone, and its ports with it
            os.killpg(pid, signal.SIGKILL)
            time.sleep(_KILL_POLL_SECONDS)


def _created(pid: int) -> str | None:
    """Which process had this number; None: none has it now."""
    try:
        return str(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _die_with_parent() -> None:
    """SIGTERM to the child when its supervisor dies, even by SIGKILL."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
