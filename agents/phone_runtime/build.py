"""Making bundles: pinned parts in, layers out.

One builder at a time works in a folder of bundles; whoever comes meanwhile waits and finds the layers made. A layer is
made once for the same parts. Beside bundles and layers the folder has::

    made/NAME-KEY.json        a Layer, by the digest of all that went into it
    downloads/SHA256          packages and wheels
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from agents.phone_runtime import archive, compiling, debian, unpacking, wheels
from agents.phone_runtime.archive import File
from agents.phone_runtime.bundle import BASE, SITE, Abi, Bundle, Layer, archive_path
from agents.phone_runtime.lock import Deb, Lock, Wheel
from agents.phone_runtime.parts import CPYTHON, PARTS, Part
from farm.errors import InfrastructureError, UserError
from farm.types.base import digest_of

FORMAT = 1  # of layers: one more makes all anew
LOCK = ".lock"

Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Built:
    """``made``: names of layers that were not there before."""

    bundle: Bundle
    made: tuple[str, ...]
    seconds: float


def chosen(names: Iterable[str]) -> list[Part]:
    """The parts with these names, with ``base`` and all they require, in the order of PARTS. Raises UserError."""
    known = {part.name: part for part in PARTS}
    wanted = {BASE, *names}
    if unknown := wanted - known.keys():
        raise UserError(
            f"There is no layer {', '.join(sorted(unknown))} for phones.",
            remedy=f"Choose from {', '.join(name for name in known if name != BASE)}.",
        )
    for part in reversed(PARTS):
        if part.name in wanted:
            wanted.update(part.requires)
    return [part for part in PARTS if part.name in wanted]


class Builder:
    """``packages``: a folder with .deb and .whl files to take before apt and pip are asked; what counts is their hash.
    ``python_archive``: a CPython to take in place of Debian's (``unpacking.cpython``)."""

    def __init__(
        self,
        folder: Path,
        lock: Lock,
        *,
        packages: Path | None = None,
        python_archive: Path | None = None,
        mirror: str = debian.MIRROR,
    ) -> None:
        self._folder, self._lock, self._mirror = folder, lock, mirror
        self._packages, self._python_archive = packages, python_archive

    def build(self, names: Iterable[str]) -> Built:
        """A bundle with these layers. Raises InfrastructureError: no network, a part that is gone or is another, a
        full disk; UserError; nothing half made is left behind."""
        parts, begin = chosen(names), time.monotonic()
        try:
            with locked(self._folder):
                sweep(self._folder)
                keys = {part.name: self._key(part) for part in parts}
                found = {part.name: self._made(part.name, keys[part.name]) for part in parts}
                missing = [part for part in parts if found[part.name] is None]
                self._fetch(missing)
                for part in missing:
                    found[part.name] = self._layer(part, keys[part.name])
                layers = [layer for layer in found.values() if layer is not None]
                bundle = Bundle.of(self._folder, self._lock.abi, _python_version(layers[0]), layers)
                _write(self._folder / "bundles" / f"{bundle.digest}.json", bundle.model_dump_json(indent=1))
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise InfrastructureError(
                f"The phone runtime could not be written: {error}.",
                remedy=f"Free space under {self._folder}, or set FARM_PHONE_RUNTIME_DIR."
                if full
                else f"Check the permissions of {self._folder}.",
            ) from error
        return Built(bundle, tuple(part.name for part in missing), time.monotonic() - begin)

    def _key(self, part: Part) -> str:
        python = _digest(self._python_archive) if self._python_archive and part.name == BASE else None
        debs, wheel_files = self._debs([part]), self._wheels([part])
        return digest_of(
            {
                "format": FORMAT,
                "compiled": compiling.possible(),
                "abi": self._lock.abi,
                "part": repr(part),
                "debs": {name: deb.sha256 for name, deb in debs.items()},
                "wheels": {name: wheel.sha256 for name, wheel in wheel_files.items()},
                "python": python,
            }
        )

    def _made(self, name: str, key: str) -> Layer | None:
        try:
            layer = Layer.model_validate_json((self._folder / "made" / f"{name}-{key}.json").read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        path = archive_path(self._folder, layer.sha256)
        return layer if path.is_file() and path.stat().st_size == layer.size_bytes else None

    def _debs(self, parts: Iterable[Part]) -> dict[str, Deb]:
        names = [name for part in parts for name in part.debs]
        if self._python_archive:
            names = [name for name in names if name not in CPYTHON]
        return {name: _locked(self._lock.debs, name, self._lock.abi) for name in names}

    def _wheels(self, parts: Iterable[Part]) -> dict[str, Wheel]:
        found = {}
        for part in parts:
            for requirement in part.requirements(self._lock.abi):
                name, _, version = requirement.partition("==")
                found[name] = _locked(self._lock.wheels, name, self._lock.abi)
                if found[name].version != version:
                    raise InfrastructureError(
                        f"The lock has {name} {found[name].version}, and {version} is to be built.",
                        remedy="Renew it with `farm phone-runtime lock`.",
                    )
        return found

    def _fetch(self, parts: list[Part]) -> None:
        debs = {name: deb for name, deb in self._debs(parts).items() if not self._have(deb)}
        wanted = {name: wheel for name, wheel in self._wheels(parts).items() if not self._have(wheel)}
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".fetch-") as temporary:
            scratch = Path(temporary)
            if debs:
                apt = debian.Archive(scratch, self._lock.abi, self._mirror)
                apt.update()
                (scratch / "debs").mkdir()
                apt.download(debs, scratch / "debs")
            if wanted:
                lines = [wheels.locked(name, wheel) for name, wheel in wanted.items()]
                for path in wheels.download(lines, self._lock.abi, scratch / "wheels"):
                    wheels.check(path)
            self._keep([*(scratch / "debs").glob("*.deb"), *(scratch / "wheels").glob("*.whl")])
        came: dict[str, Deb | Wheel] = {**debs, **wanted}
        for name, part in came.items():
            if not self._have(part):
                raise InfrastructureError(
                    f"What came for {name} {part.version} is not the file that the lock names.",
                    remedy="A proxy or mirror may be at fault; try again, or renew the lock.",
                )

    def _have(self, part: Deb | Wheel) -> bool:
        if self._download(part).is_file():
            return True
        if self._packages:
            here = [path for path in self._packages.iterdir() if path.is_file()]
            self._keep(path for path in here if path.stat().st_size == part.size_bytes and _digest(path) == part.sha256)
        return self._download(part).is_file()

    def _keep(self, paths: Iterable[Path]) -> None:
        folder = self._folder / "downloads"
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            partial = folder / f".{path.name}.part"
            shutil.copyfile(path, partial)
            partial.replace(folder / _digest(partial))

    def _download(self, part: Deb | Wheel) -> Path:
        return self._folder / "downloads" / part.sha256

    def _layer(self, part: Part, key: str) -> Layer:
        files: dict[str, File] = {}
        versions: dict[str, str] = {}
        for name, deb in self._debs([part]).items():
            files |= unpacking.deb(self._download(deb))
            if name in ("libc6", "python3.11-minimal"):
                versions[{"libc6": "glibc"}.get(name, "cpython")] = deb.version
        if self._python_archive and part.name == BASE:
            files |= unpacking.cpython(self._python_archive)
            versions["cpython"] = self._python_archive.name
        for name, wheel in self._wheels([part]).items():
            content = wheels.files(self._download(wheel))
            files |= {f"{SITE}/{path}": file for path, file in content.items() if part.wants(path)}
            versions[name] = wheel.version
        packed = archive.pack(files | compiling.compiled(files), self._folder / "layers")
        layer = Layer(
            name=part.name,
            sha256=packed.sha256,
            size_bytes=packed.size_bytes,
            unpacked_bytes=packed.unpacked_bytes,
            distributions=versions,
            runtimes=part.runtimes,
            requires=part.requires,
        )
        _write(self._folder / "made" / f"{part.name}-{key}.json", layer.model_dump_json(indent=1))
        return layer


def make_lock(abi: Abi, folder: Path, mirror: str = debian.MIRROR) -> Lock:
    """What Debian and pip's index offer now for all parts. ``folder``: of bundles, for what is fetched meanwhile.

    Raises InfrastructureError."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder), tempfile.TemporaryDirectory(dir=folder, prefix=".lock-") as temporary:
        scratch = Path(temporary)
        apt = debian.Archive(scratch, abi, mirror)
        apt.update()
        debs = apt.newest(dict.fromkeys(name for part in PARTS for name in part.debs))
        found = {}
        for part in PARTS:
            for number, requirement in enumerate(part.requirements(abi)):
                (path,) = wheels.download([requirement], abi, scratch / f"{part.name}-{number}")
                wheels.check(path)
                found[requirement.partition("==")[0]] = Wheel(
                    version=wheels.version(path),
                    filename=path.name,
                    sha256=_digest(path),
                    size_bytes=path.stat().st_size,
                )
    return Lock(abi=abi, suite=debian.SUITE, debs=dict(sorted(debs.items())), wheels=dict(sorted(found.items())))


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Alone in the folder; the kernel gives the lock back when its holder dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sweep(folder: Path) -> None:
    """Remove what killed builders left; only with the lock held."""
    for path in (*folder.glob(".fetch-*"), *folder.glob(".lock-*")):
        shutil.rmtree(path)
    for path in folder.glob("*/.*.part"):
        path.unlink()


def _python_version(base: Layer) -> str:
    """Of Debian's version, or of an archive's name."""
    told = base.distributions["cpython"]
    if found := re.search(r"3\.11\.\d+", told):
        return found[0]
    raise InfrastructureError(
        f"{told} does not say which CPython 3.11 it is.",
        remedy="Keep the name that python-build-standalone gave the archive.",
    )


def _locked(entries: Mapping[str, Entry], name: str, abi: str) -> Entry:
    if name not in entries:
        raise InfrastructureError(
            f"The lock for {abi} does not name {name}.", remedy="Renew it with `farm phone-runtime lock`."
        )
    return entries[name]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_text(text)
    partial.replace(path)
