"""Names for the coordinator's sockets."""

from __future__ import annotations

import contextlib
import os
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
