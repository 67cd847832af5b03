"""A bundle: the layers that make a phone run the harness, and the command line that starts it there.

A layer is an archive (gzip-compressed ustar of plain files and folders: what toybox of Android 9 unpacks with
``gzip -dc ARCHIVE | tar -x -C FOLDER``), named by the SHA-256 of its content. ``base`` holds the loader, CPython, the
shared libraries both need, and numpy; each runtime has a layer; the harness is one of its own, because it changes most
often. In the folder of bundles::

    bundles/DIGEST.json       a Bundle; written last
    layers/SHA256.tar.gz      archives, shared by bundles
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import PrivateAttr, ValidationError

from agents.phone_runtime import archive, compiling, harness
from farm.errors import InfrastructureError, InternalError, RecipeError
from farm.types.base import Frozen, Sha256, digest_of

Abi = Literal["arm64-v8a", "x86_64"]
ABIS: tuple[Abi, ...] = ("arm64-v8a", "x86_64")
LOADERS: dict[Abi, str] = {"arm64-v8a": "lib/ld-linux-aarch64.so.1", "x86_64": "lib/ld-linux-x86-64.so.2"}

BASE, HARNESS = "base", "harness"
PYTHON = "bin/python3.11"
SITE = "site"  # of every layer: goes on PYTHONPATH


class Layer(Frozen):
    """``distributions``: versions by name of what pip calls it (of ``base`` also CPython's and glibc's).
    ``runtimes``: those it adds, under the harness's names. ``requires``: names of layers it does not work without."""

    name: str
    sha256: Sha256
    size_bytes: int  # of the archive
    unpacked_bytes: int
    distributions: dict[str, str]
    runtimes: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()


class Bundle(Frozen):
    """``layers``: ``base`` first, and each after those it requires; without the harness. ``digest`` is of all the
    rest: the same layers make the same bundle."""

    abi: Abi
    digest: Sha256
    python_version: str
    layers: tuple[Layer, ...]
    _folder: Path = PrivateAttr(default=Path())

    @classmethod
    def of(cls, folder: Path, abi: Abi, python_version: str, layers: Sequence[Layer]) -> Self:
        content = {
            "abi": abi,
            "python_version": python_version,
            "layers": [layer.model_dump(mode="json") for layer in layers],
        }
        made = cls(digest=digest_of(content), **content)
        made._folder = folder
        return made

    @classmethod
    def read(cls, folder: Path, manifest: Path) -> Self:
        """Raises InfrastructureError when it is no bundle of this version's."""
        try:
            read = cls.model_validate_json(manifest.read_bytes())
        except (OSError, ValidationError) as error:
            raise InfrastructureError(
                f"{manifest} cannot be read as a phone runtime: {error}.",
                remedy="Remove it with `farm phone-runtime remove`, then build it again.",
            ) from error
        read._folder = folder
        return read

    @property
    def runtimes(self) -> tuple[str, ...]:
        return tuple(runtime for layer in self.layers for runtime in layer.runtimes)

    def archive(self, layer: Layer) -> Path:
        """Where a layer's archive lies on this machine; also the harness's."""
        return archive_path(self._folder, layer.sha256)

    def complete(self) -> bool:
        """Whether all archives are there in their full size; ``verify`` looks at their content."""
        return all(_size(self.archive(layer)) == layer.size_bytes for layer in self.layers)

    def verify(self) -> None:
        """Raises InfrastructureError naming the first layer that is missing or damaged."""
        for layer in self.layers:
            path = self.archive(layer)
            try:
                with path.open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                found = os.strerror(error.errno or errno.EIO)
            if found != layer.sha256:
                raise InfrastructureError(
                    f"Layer {layer.name} of the phone runtime for {self.abi} is damaged: {path} ({found}).",
                    remedy="Remove the bundle with `farm phone-runtime remove`, then build it again.",
                )

    def layers_for(self, runtime: str) -> tuple[Layer, ...]:
        """What a phone needs for that runtime beside the harness, in the order of ``layers``. Raises RecipeError."""
        wanted = {layer.name for layer in self.layers if runtime in layer.runtimes}
        if not wanted:
            raise RecipeError(
                f"The phone runtime for {self.abi} has no {runtime}; it has {', '.join(self.runtimes) or 'none'}.",
                remedy="Build one with it: `farm phone-runtime build --with ...`, or choose another recipe.",
            )
        for layer in reversed(self.layers):
            if layer.name in wanted:
                wanted |= {*layer.requires, BASE}
        return tuple(layer for layer in self.layers if layer.name in wanted)

    def command(
        self, layer_folders: Mapping[str, str], runtime: str, arguments: Sequence[str], *, work_folder: str
    ) -> tuple[list[str], dict[str, str]]:
        """What starts Python on the phone: the argument list, which begins with the loader, and the whole environment
        (start it with ``env -i``: nothing of the phone's may be inherited, LD_PRELOAD least).

        ``layer_folders``: where on the phone each layer is unpacked, by the layer's name; ``harness`` among them.
        ``arguments``: Python's, such as ``-m agents.harness JOB``. ``work_folder``: of the attempt, writable; it is
        HOME and TMPDIR. Raises RecipeError as ``layers_for``, InternalError when a folder is missing.
        """
        names = [HARNESS, *(layer.name for layer in self.layers_for(runtime))]
        if missing := [name for name in names if name not in layer_folders]:
            raise InternalError(
                f"No folder on the phone is given for {', '.join(missing)}.", remedy="Report this; it is a bug."
            )
        base = layer_folders[BASE]
        # The kernel knows no loader for these programs: it is called as a program. No cache of another libc's.
        libraries = ":".join(f"{layer_folders[name]}/lib" for name in names[1:])
        loader = [f"{base}/{LOADERS[self.abi]}", "--inhibit-cache", "--library-path", libraries]
        # Nothing is written beside the layers, and nothing is imported from the working folder or a user's.
        python = [f"{base}/{PYTHON}", "-B", "-s", "-P"]
        environment = {
            "HOME": work_folder,
            "TMPDIR": work_folder,
            "USER": "shell",  # getpass has no password file to look into
            "LANG": "C.UTF-8",
            "PYTHONHOME": base,
            "PYTHONPATH": ":".join(f"{layer_folders[name]}/{SITE}" for name in names),
            "TORCHINDUCTOR_CACHE_DIR": f"{work_folder}/inductor",
        }
        return [*loader, *python, *arguments], environment


def archive_path(folder: Path, sha256: str) -> Path:
    return folder / "layers" / f"{sha256}.tar.gz"


def manifests(folder: Path) -> list[Path]:
    """Of all bundles, the newest first."""
    found = [(path.stat().st_mtime_ns, path) for path in (folder / "bundles").glob("*.json")]
    return [path for _, path in sorted(found, reverse=True)]


def find(folder: Path, abi: str) -> Bundle | None:
    """The newest complete bundle for ``abi`` in the folder of bundles (``Settings.phone_runtime_dir``)."""
    for manifest in manifests(folder):
        bundle = Bundle.read(folder, manifest)
        if bundle.abi == abi and bundle.complete():
            return bundle
    return None


def harness_layer(folder: Path) -> Layer:
    """Our own harness, of the code that runs now, as a layer: packed into ``folder`` unless it lies there."""
    files = harness.files()
    packed = archive.pack(files | compiling.compiled(files), folder / "layers")
    os.utime(packed.path)  # no bundle names it: its time is what keeps it (``shelf.prune``)
    return Layer(
        name=HARNESS,
        sha256=packed.sha256,
        size_bytes=packed.size_bytes,
        unpacked_bytes=packed.unpacked_bytes,
        distributions={},
    )


def host_abi() -> Abi | None:
    """What this machine runs natively."""
    known: dict[str, Abi] = {"x86_64": "x86_64", "aarch64": "arm64-v8a"}
    return known.get(platform.machine())


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
