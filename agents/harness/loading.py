"""What getting an artifact into memory costs beside the runtime's own loading: reading its files, and I/O."""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

IO = Path("/proc/self/io")
BUFFER_BYTES = 1 << 20


class Counters(NamedTuple):
    """Of this process since its start: bytes that came from storage, and bytes asked for by read calls (proc(5))."""

    storage_bytes: int
    requested_bytes: int


def counters(path: Path = IO) -> Counters | None:
    """None where the kernel does not tell (no task accounting, or not permitted)."""
    try:
        found = dict(re.findall(r"^(\w+): (\d+)$", path.read_text(), re.MULTILINE))
        return Counters(int(found["read_bytes"]), int(found["rchar"]))
    except (OSError, KeyError):
        return None


def read_through(paths: Iterable[Path]) -> float:
    """Seconds to read all files from beginning to end; they are in the page cache afterwards, if it has the room."""
    buffer = bytearray(BUFFER_BYTES)
    begin = time.perf_counter_ns()
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return (time.perf_counter_ns() - begin) / 1e9


def cached_ratio(paths: Iterable[Path]) -> float | None:
    """How much of the files is in the page cache, 0 to 1, by mincore(2); None where that does not tell.

    The kernel tells it of files only that this process may write or owns, and says of others that all is there.
    """
    pages = resident = 0
    for path in paths:
        found = _pages(path)
        if found is None:
            return None
        pages, resident = pages + len(found), resident + sum(state & 1 for state in found)
    return resident / pages if pages else None


def _pages(path: Path) -> bytes | None:
    size = path.stat().st_size
    if size == 0:
        return b""
    libc = ctypes.CDLL(None, use_errno=True)
    if not (hasattr(libc, "mincore") and hasattr(libc, "mmap")):
        return None
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    states = ctypes.create_string_buffer(-(-size // mmap.PAGESIZE))
    handle = os.open(path, os.O_RDONLY)
    try:
        address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, handle, 0)
    finally:
        os.close(handle)
    if address in (None, ctypes.c_void_p(-1).value):
        return None
    told = libc.mincore(address, size, states) == 0
    libc.munmap(address, size)
    return states.raw if told else None


def record(
    read_seconds: float, cached: float | None, before: Counters | None, between: Counters | None, after: Counters | None
) -> dict[str, Any]:
    """Fields of the ``load_cost`` record. ``before`` the reading, ``between`` it and the load phase, and ``after``."""
    fields: dict[str, Any] = {"read_seconds": read_seconds, "absent": {}}
    if cached is None:
        fields["absent"]["cached_ratio"] = "mincore does not tell here"
    else:
        fields["cached_ratio"] = cached
    if before is None or between is None or after is None:
        why = f"{IO} cannot be read on this system"
        fields["absent"] |= {"storage_bytes": why, "requested_bytes": why}
    else:
        fields["storage_bytes"] = after.storage_bytes - before.storage_bytes
        fields["requested_bytes"] = after.requested_bytes - between.requested_bytes
    return fields
