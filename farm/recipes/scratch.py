"""The temporary folder of one build, named after its process: what a killed one left behind can be told from
what is in use, and is removed by the next build on that machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "farm-build-"


@contextmanager
def folder() -> Iterator[Path]:
    """Gone at the end of the block, or with ``discard_leftovers`` after a crash."""
    prefix = f"{_PREFIX}{os.getpid()}-{_started(os.getpid())}-"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        yield Path(name).resolve()


def discard_leftovers() -> None:
    """Remove the folders of builds whose process is gone; those of other users stay."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*-*"):
        pid, started, _ = path.name.removeprefix(_PREFIX).split("-", 2)
        if pid.isdecimal() and _started(int(pid)) != started:
            shutil.rmtree(path, ignore_errors=True)


def _started(pid: int) -> str | None:
    """When the process started, in clock ticks since the machine did: ids are used again, this pair is not.
    psutil's time of creation moves when the machine's clock is set, which would condemn builds that run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]  # field 22 of proc(5); the name before it may hold anything
