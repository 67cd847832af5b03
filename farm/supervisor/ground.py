"""What a supervisor stands on: its state folder, the port, the signals that end it."""

from __future__ import annotations

import contextlib
import fcntl
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from farm.errors import ConfigError, ConflictError, InfrastructureError
from farm.supervisor.child import Child

_START_SECONDS = 60.0
_POLL_SECONDS = 0.05


@contextlib.contextmanager
def state_folder(path: Path, owner: str) -> Iterator[Path]:
    """The folder, private to its user and locked against a second ``owner`` on it.

    Raises ConfigError, ConflictError.
    """
    folder = path.resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / "logs").mkdir(exist_ok=True)
        lock = (folder / f"{owner}.lock").open("w")
    except OSError as error:
        raise ConfigError(
            f"The state folder {folder} cannot be used: {error}.", remedy="Choose another by --state-dir."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"Another {owner} runs on {folder}.", remedy="Stop it, or give this one its own --state-dir."
            ) from None
        yield folder


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """A function that says whether SIGINT or SIGTERM has come."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def free_port(host: str, port: int) -> int:
    """``port`` itself, or one that is free for 0. Raises ConfigError when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"{host}:{port} cannot be listened on: {error.strerror}.",
                remedy="Choose another port by --port (0: any free one), or stop what uses it.",
            ) from error
        return int(probe.getsockname()[1])


def wait_for(child: Child, ready: Callable[[], bool], stopping: Callable[[], bool]) -> None:
    """Until ``ready`` or a stop signal. Raises InfrastructureError when the child ends first or takes too long."""
    deadline_seconds = time.monotonic() + _START_SECONDS
    while not ready() and not stopping():
        if not child.running or time.monotonic() > deadline_seconds:
            raise InfrastructureError(
                f"The {child.name} process did not start:\n{child.last_words()}",
                remedy=f"Its whole log is {child.log_path}.",
            )
        time.sleep(_POLL_SECONDS)


def pause(seconds: float, stopping: Callable[[], bool]) -> None:
    """As long, or until ``stopping``."""
    until_seconds = time.monotonic() + seconds
    while not stopping() and (left_seconds := until_seconds - time.monotonic()) > 0:
        time.sleep(min(0.1, left_seconds))
