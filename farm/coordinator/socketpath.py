"""Names for the coordinator's sockets."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """A name for the socket that is short enough: such paths end at 107 characters, so go by the folder's
    descriptor. Raises OSError where there is no folder."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listener(path: Path) -> socket.socket:
    """A stream socket there, in place of an older one, that only its owner may connect to."""
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.fchmod(made.fileno(), 0o600)  # what is bound takes it over: at no moment is the file open to others
    with reachable(path) as name:
        made.bind(name)
    return made
