"""The two files of a Caffe2 model as the one file that the farm stores: a ZIP that is the same for the same content."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from farm.errors import ModelError

INIT, PREDICT = "init_net.pb", "predict_net.pb"
PREDICT_BYTES = 64 * 2**20  # a net without weights; the largest known have a hundredth
INIT_BYTES = 2**31 - 1  # what Protocol Buffers can hold, in this format and in ONNX

_REMEDY = f"Give the folder with {INIT} and {PREDICT}, or the paths of both files."


def find(model: Path | Sequence[str | Path]) -> tuple[Path, Path] | None:
    """Init and predict net of a folder or of two paths in that order; None for what is no such thing.

    Raises ModelError where one of the files is missing."""
    if isinstance(model, Path):
        paths = (model / INIT, model / PREDICT)
        if not model.is_dir():
            return None
    elif len(model) == 2:
        paths = (Path(model[0]), Path(model[1]))
    else:
        return None
    for path in paths:
        if not path.is_file():
            raise ModelError(f"There is no file {path}: a Caffe2 model is two files.", remedy=_REMEDY)
    return paths


def pack(init: Path, predict: Path, destination: Path) -> None:
    with zipfile.ZipFile(destination, "w") as archive:
        for name, path in ((INIT, init), (PREDICT, predict)):
            info = zipfile.ZipInfo(name)  # of 1980: the time would give the same model another id
            info.file_size = path.stat().st_size
            with path.open("rb") as source, archive.open(info, "w") as target:
                while chunk := source.read(1 << 20):
                    target.write(chunk)


def unpack(path: Path) -> tuple[bytes, bytes]:
    """Init and predict net. Raises ModelError for another or a damaged file."""
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {member.filename: member for member in archive.infolist()}
            if set(sizes) != {INIT, PREDICT} or any(m.compress_type != zipfile.ZIP_STORED for m in sizes.values()):
                raise ModelError(f"The file does not hold {INIT} and {PREDICT} alone, as they are.", remedy=_REMEDY)
            for name, most in ((INIT, INIT_BYTES), (PREDICT, PREDICT_BYTES)):
                if sizes[name].file_size > most:
                    raise ModelError(
                        f"{name} has {sizes[name].file_size:,} bytes; at most {most:,} are read.",
                        remedy="Check that the two files are not interchanged: weights belong into the init net.",
                    )
            return archive.read(INIT), archive.read(PREDICT)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ModelError(f"The file cannot be read as a pair of nets: {error}.", remedy=_REMEDY) from error
