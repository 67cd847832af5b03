"""Layers as archives: the same files always make the same bytes.

gzip-compressed ustar is what every toybox since Android 9 unpacks: no extended headers, no links, names within ustar's
100 + 155 characters. Owners and times are constants, the order is that of the names.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Self

from farm.errors import InternalError

LEVEL = 6  # 9 saves 0.4 % of torch's layer and takes three times as long
MODIFIED = 315_532_800  # 1980-01-01, which zip files can hold, too


@dataclass(frozen=True)
class File:
    """``open`` gives the content; nothing is read before it is packed."""

    open: Callable[[], IO[bytes]]
    size_bytes: int
    executable: bool = False

    @classmethod
    def of_bytes(cls, content: bytes, *, executable: bool = False) -> Self:
        return cls(partial(io.BytesIO, content), len(content), executable)

    @classmethod
    def of_path(cls, path: Path) -> Self:
        return cls(lambda: path.open("rb"), path.stat().st_size)


@dataclass(frozen=True)
class Packed:
    path: Path
    sha256: str
    size_bytes: int
    unpacked_bytes: int


def pack(files: Mapping[str, File], folder: Path) -> Packed:
    """Write ``folder/SHA256.tar.gz``; keys are paths inside. One that is there already stays. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".part") as temporary:
        with gzip.GzipFile(filename="", fileobj=temporary, mode="wb", compresslevel=LEVEL, mtime=0) as compressed:
            unpacked_bytes = _write(files, compressed)
        temporary.flush()
        size_bytes = temporary.tell()
        temporary.seek(0)
        sha256 = hashlib.file_digest(temporary, "sha256").hexdigest()
        path = folder / f"{sha256}.tar.gz"
        if not path.exists():
            # A hard link: atomic, and the temporary name goes as it would after a failure.
            Path(temporary.name).chmod(0o644)
            path.hardlink_to(temporary.name)
    return Packed(path, sha256, size_bytes, unpacked_bytes)


def _write(files: Mapping[str, File], to: gzip.GzipFile) -> int:
    total = 0
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}
    with tarfile.open(fileobj=to, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(folders | files.keys()):
            member = tarfile.TarInfo(checked(name))
            member.mtime = MODIFIED
            if name in folders:
                member.type, member.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(member)
                continue
            file = files[name]
            member.mode = 0o755 if file.executable else 0o644
            member.size = file.size_bytes
            with file.open() as content:
                tar.addfile(member, content)
            total += member.size
    return total


def checked(name: str) -> str:
    """A relative path that stays in its folder and that ustar can hold. Raises InternalError."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path) != name or not name:
        raise InternalError(f"{name!r} is no path for a layer.", remedy="Report this; it is a bug.")
    return name
