"""Wakes the coordinator when the API has written something for it. Only a hint: without it the coordinator
looks into the store once a second."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path


class Nudge:
    """A Unix datagram socket, or the lack of one where the coordinator runs elsewhere or is down."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "nudge.sock"

    def send(self) -> None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            with _reachable(self._path) as path:
                sender.sendto(b"!", path)

    def listen(self, woken: asyncio.Event) -> socket.socket:
        """Set ``woken`` at every nudge. The caller closes the socket."""
        self._path.unlink(missing_ok=True)
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.setblocking(False)
        with _reachable(self._path) as path:
            receiver.bind(path)

        def drain() -> None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    receiver.recv(16)
            woken.set()

        asyncio.get_running_loop().add_reader(receiver.fileno(), drain)
        return receiver


@contextlib.contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """A name for the socket that is short enough: such paths end at 107 characters, so go by the folder's
    descriptor."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
