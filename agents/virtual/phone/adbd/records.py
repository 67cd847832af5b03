"""What travels over ``sync:``: an id of four letters and little-endian fields (AOSP's SYNC.TXT)."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

MOST_DATA_BYTES = 64 * 1024
MOST_PATH_BYTES = 1024

_REQUEST = struct.Struct("<4sI")  # id, length of the path (or of the data, or the mtime at DONE)
_SEND_2 = struct.Struct("<4sII")  # SND2 again, mode, flags
_RECEIVE_2 = struct.Struct("<4sI")  # RCV2 again, flags
_STAT_1 = struct.Struct("<4sIII")  # id, mode, size, mtime
_STAT_2 = struct.Struct("<4sIQQIIIIQqqq")  # id, error, dev, ino, mode, nlink, uid, gid, size, atime, mtime, ctime
_LENGTH = struct.Struct("<I")

REQUEST_BYTES, SEND_2_BYTES, RECEIVE_2_BYTES = _REQUEST.size, _SEND_2.size, _RECEIVE_2.size


@dataclass(frozen=True)
class Request:
    """``number``: length of what follows; at DONE the file's mtime, in seconds since 1970."""

    id: bytes
    number: int


def request(data: bytes | memoryview) -> Request:
    return Request(*_REQUEST.unpack(data))


def send_2(data: bytes | memoryview) -> tuple[bytes, int, int]:
    """Id, mode, flags."""
    name, mode, flags = _SEND_2.unpack(data)
    return name, mode, flags


def receive_2(data: bytes | memoryview) -> tuple[bytes, int]:
    """Id, flags."""
    name, flags = _RECEIVE_2.unpack(data)
    return name, flags


def send_1(spec: bytes) -> tuple[bytes, int]:
    """``PATH,MODE`` of SEND: the mode in decimal, octal or hexadecimal as in C. Raises ValueError: what is wrong."""
    path, comma, mode = spec.rpartition(b",")
    if not comma:
        raise ValueError("missing , in ID_SEND_V1")
    text = mode.decode("ascii", "replace").strip()
    base = 16 if text[:2].lower() == "0x" else 8 if text.startswith("0") else 10
    try:
        return path, int(text, base)
    except ValueError:
        raise ValueError("bad mode") from None


def status(name: bytes, number: int = 0) -> bytes:
    """OKAY, DONE, or the head of DATA and FAIL."""
    return _REQUEST.pack(name, number)


def failure(reason: str) -> bytes:
    data = reason.encode()
    return status(b"FAIL", len(data)) + data


def stat_1(found: os.stat_result | None) -> bytes:
    """STAT knows no errors: all zero is what it says of a file that is not there. Sizes are cut to 32 bits."""
    if found is None:
        return _STAT_1.pack(b"STAT", 0, 0, 0)
    return _STAT_1.pack(b"STAT", *_short(found))


def stat_2(name: bytes, found: os.stat_result | None, error: int = 0) -> bytes:
    """``name``: STA2 (of what a link points at) or LST2. ``error``: errno."""
    return _STAT_2.pack(name, error, *_long(found))


def entry_1(name: bytes, found: os.stat_result) -> bytes:
    return _STAT_1.pack(b"DENT", *_short(found)) + _LENGTH.pack(len(name)) + name


def entry_2(name: bytes, found: os.stat_result | None, error: int = 0) -> bytes:
    return _STAT_2.pack(b"DNT2", error, *_long(found)) + _LENGTH.pack(len(name)) + name


def end_1() -> bytes:
    """Ends a LIST: as long as an entry without a name."""
    return _STAT_1.pack(b"DONE", 0, 0, 0) + _LENGTH.pack(0)


def end_2() -> bytes:
    return _STAT_2.pack(b"DONE", 0, *_long(None)) + _LENGTH.pack(0)


def _short(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_mode & 0xFFFFFFFF, found.st_size & 0xFFFFFFFF, int(found.st_mtime) & 0xFFFFFFFF


def _long(found: os.stat_result | None) -> tuple[int, ...]:
    if found is None:
        return (0,) * 10
    times = (int(found.st_atime), int(found.st_mtime), int(found.st_ctime))
    owner = (found.st_uid & 0xFFFFFFFF, found.st_gid & 0xFFFFFFFF)
    inode = (found.st_dev & 0xFFFFFFFFFFFFFFFF, found.st_ino & 0xFFFFFFFFFFFFFFFF)
    return (*inode, found.st_mode, found.st_nlink & 0xFFFFFFFF, *owner, found.st_size, *times)
