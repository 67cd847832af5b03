"""Wakes the coordinator when the API has written something for it. Only a hint: without it the coordinator
looks into the store once a second."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

from farm.coordinator.socketpath import reachable


class Nudge:
    """A Unix datagram socket, or the lack of one where the coordinator runs elsewhere or is down."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "nudge.sock"

    def send(self) -> None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            with reachable(self._path) as path:
                sender.sendto(b"!", path)

    def listen(self, woken: asyncio.Event) -> socket.socket:
        """Set ``woken`` at every nudge. The caller closes the socket."""
        self._path.unlink(missing_ok=True)
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.setblocking(False)
        with reachable(self._path) as path:
            receiver.bind(path)

        def drain() -> None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    receiver.recv(16)
            woken.set()

        asyncio.get_running_loop().add_reader(receiver.fileno(), drain)
        return receiver
