"""Files of a model that lie in a folder become a model of the farm: through the checks of every upload."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import numpy as np

from farm.config import Settings
from farm.errors import ModelError, TooLargeError
from farm.packaging import FORMATS, package
from farm.planning.inputs import arrays_of
from farm.planning.registration import register
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.types import Blob, FileModel, MlflowModel, Model

EXAMPLE, PARITY, CALIBRATION = "example_inputs.npz", "parity_inputs.npz", "calibration_inputs.npz"


@dataclass(frozen=True)
class Files:
    """``program``: of a type in ``farm.packaging.FORMATS``; the others are .npz."""

    program: Path
    example_inputs: Path
    parity_inputs: Path | None
    calibration_inputs: Path | None
    dynamic_batch: bool

    @classmethod
    def at(cls, folder: Path, program: str, dynamic_batch: bool) -> Files:
        """Under the names of this module; what is optional and not there is left out. Links count: see ``git``."""
        parity, calibration = (
            folder / name if os.path.lexists(folder / name) else None for name in (PARITY, CALIBRATION)
        )
        return cls(folder / program, folder / EXAMPLE, parity, calibration, dynamic_batch)

    @property
    def samples(self) -> tuple[Path, ...]:
        return tuple(path for path in (self.example_inputs, self.parity_inputs, self.calibration_inputs) if path)

    def digest(self) -> str:
        whole = hashlib.sha256()
        for path in (self.program, *self.samples):
            with path.open("rb") as file:
                whole.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
        return whole.hexdigest()


@dataclass(frozen=True)
class Found:
    """A version of a model at its source. ``identity``: what tells its files from those of any other source or version;
    files of the same one are fetched once. ``fetch`` brings them here."""

    version: str
    identity: str
    fetch: Callable[[], Files]


def wanted(program: str, source: FileModel | MlflowModel) -> list[tuple[str, str]]:
    """Where each file of a source is, and its name here: first the ``program``. Raises ModelError."""
    given = ((source.example_inputs, EXAMPLE), (source.parity_inputs, PARITY), (source.calibration_inputs, CALIBRATION))
    return [(program, program_name(program)), *((place, name) for place, name in given if place)]


def program_name(path: str) -> str:
    """What the program at a path or URL is called here. Raises ModelError for types that are never taken: pickles."""
    suffix = PurePosixPath(urlsplit(path).path).suffix
    if suffix not in FORMATS:
        raise ModelError(
            f"{path} is in no format that sweeps take.",
            remedy=f"Give a file of type {', '.join(FORMATS)}. Pickles are never loaded: export the model.",
        )
    return f"model{suffix}"


def take(files: Files, name: str, store: Store, artifacts: ArtifactStore, settings: Settings, by: str) -> Model:
    """Raises ModelError, TooLargeError, ForbiddenError, InfrastructureError."""
    for path in files.samples:
        _check_size(path, settings.max_upload_bytes)
    packed = package(
        files.program,
        files.example_inputs,
        name=name,
        parity_inputs=files.parity_inputs,
        calibration_inputs=files.calibration_inputs,
        dynamic_batch=files.dynamic_batch,
    )
    with packed:
        for path in packed.files.values():
            artifacts.put_file(path)
        return register(packed.spec, store, artifacts, settings, by, datetime.now(UTC))


def _check_size(path: Path, max_bytes: int) -> None:
    """By the arrays' headers, before any is unpacked: a small file may unpack to more than this machine has."""
    with path.open("rb") as file:
        arrays = arrays_of(Blob(name=path.name, sha256="0" * 64, size_bytes=path.stat().st_size), file)
    size_bytes = sum(math.prod(array.shape) * np.dtype(array.dtype).itemsize for array in arrays.values())
    if size_bytes > max_bytes:
        raise TooLargeError(
            f"The arrays in {path.name} have {size_bytes:,} bytes, this farm accepts {max_bytes:,}.",
            remedy="Give fewer samples, or have the operator raise max_upload_bytes.",
        )
