"""Files out of Debian packages and CPython archives, in memory: nothing is extracted to disk, no script is run, and
a member that points out of its folder is an error, not a file."""

from __future__ import annotations

import io
import posixpath
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO

from agents.phone_runtime.archive import File
from agents.phone_runtime.parts import SHARED, stdlib_wants
from farm.errors import InfrastructureError

PYTHON, STDLIB = "bin/python3.11", "lib/python3.11"
_AR_MAGIC, _AR_HEADER_BYTES = b"!<arch>\n", 60


def deb(path: Path) -> dict[str, File]:
    """What a layer takes of a package: the interpreter, its library, shared libraries by their names, the licence."""
    with path.open("rb") as source:
        members = _members(_data(source, path), path)
    taken = {}
    for name, file in members.items():
        where = PurePosixPath(name)
        if name == "usr/bin/python3.11":
            taken[PYTHON] = File(file.open, file.size_bytes, executable=True)
        elif name.startswith("usr/lib/python3.11/"):
            if stdlib_wants(rest := name.removeprefix("usr/lib/python3.11/")):
                taken[f"{STDLIB}/{rest}"] = file
        elif where.name in SHARED and len(where.parts) <= 4:
            loader = where.name.startswith("ld-")
            taken[f"lib/{where.name}"] = File(file.open, file.size_bytes, executable=loader)
        elif where.name == "copyright":
            taken[f"licenses/{where.parent.name}"] = file
    return taken


def cpython(path: Path) -> dict[str, File]:
    """A relocatable CPython 3.11 for glibc, laid out as python-build-standalone's ``install_only`` archives: the
    interpreter and its library. Raises InfrastructureError for another layout."""
    with path.open("rb") as source:
        members = _members(source, path)
    taken = {}
    for name, file in members.items():
        below = name.removeprefix("python/")
        if below == PYTHON:
            taken[PYTHON] = File(file.open, file.size_bytes, executable=True)
        elif below.startswith(f"{STDLIB}/"):
            if stdlib_wants(below.removeprefix(f"{STDLIB}/")):
                taken[below] = file
        elif PurePosixPath(below).name in SHARED and below.startswith("lib/"):
            taken[below] = file
    if PYTHON not in taken or f"{STDLIB}/os.py" not in taken:
        raise InfrastructureError(
            f"{path} holds no python/{PYTHON} with its library.",
            remedy="Take an install_only archive of CPython 3.11 for linux-gnu from python-build-standalone.",
        )
    return taken


def _data(file: IO[bytes], path: Path) -> IO[bytes]:
    """The data member of an ar archive: deb(5)."""
    if file.read(len(_AR_MAGIC)) != _AR_MAGIC:
        raise _damaged(path, "it is no ar archive")
    while header := file.read(_AR_HEADER_BYTES):
        try:
            name, size = header[:16].decode().strip().rstrip("/"), int(header[48:58])
        except ValueError as error:
            raise _damaged(path, f"a header of its cannot be read: {error}") from error
        content = file.read(size + size % 2)
        if len(content) < size:
            raise _damaged(path, "it ends in the middle")
        if name.startswith("data.tar"):
            return io.BytesIO(content[:size])
    raise _damaged(path, "it holds no data.tar")


def _members(source: IO[bytes], path: Path) -> dict[str, File]:
    """All regular files, and links to them as files of their own, by their paths."""
    found: dict[str, File] = {}
    links: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=source) as tar:
            for member in tar:
                name = _inside(member.name, path)
                if member.isreg():
                    content = tar.extractfile(member)
                    found[name] = File.of_bytes(content.read() if content else b"")
                elif member.issym():
                    links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
                elif member.islnk():
                    links[name] = _inside(member.linkname, path)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _damaged(path, str(error)) from error
    for name, target in links.items():
        end, hops = target, 0
        while end in links and hops < len(links):
            end, hops = links[end], hops + 1
        if end in found:  # else it points to a folder, or out of the archive
            found[name] = found[end]
    return found


def _inside(name: str, path: Path) -> str:
    normal = posixpath.normpath(name)
    if normal.startswith(("/", "../")) or normal == "..":
        raise _damaged(path, f"its member {name!r} leads out of it")
    return normal


def _damaged(path: Path, why: str) -> InfrastructureError:
    return InfrastructureError(
        f"{path.name} cannot be unpacked: {why}.", remedy="Remove it, so that it is fetched again; or bring another."
    )
