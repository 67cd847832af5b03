"""Do the uploaded arrays fit the model's inputs? Looks at their headers only: nothing is unpacked or unpickled."""

from __future__ import annotations

import itertools
import re
import struct
import tokenize
import zipfile
import zlib
from typing import BinaryIO, NamedTuple

from farm.errors import ModelError
from farm.store.artifacts import ArtifactStore
from farm.types import Blob, ModelSpec, TensorSpec

_ARRAY = re.compile(r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.npy")
_MAX_ARRAYS = 100_000
# What zipfile and numpy may raise on garbage.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    tokenize.TokenError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    LookupError,
    ValueError,
    TypeError,
    OSError,
    EOFError,
)


class _Array(NamedTuple):
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


def check_inputs(spec: ModelSpec, artifacts: ArtifactStore) -> None:
    """Raises ModelError that names the file, the sample, and what was expected instead."""
    if not spec.inputs:
        raise ModelError(f"Model {spec.name} has no inputs.", remedy="Describe them in `inputs`.")
    labelled = spec.evaluation
    of_labelled = labelled.inputs if labelled else None
    given = (spec.example_inputs, spec.parity_inputs, spec.calibration_inputs, spec.training_inputs, of_labelled)
    for blob in given:
        if blob is not None:
            with artifacts.open(blob.sha256) as file:
                found = _check_samples(blob, arrays_of(blob, file), spec.inputs)
            if labelled and blob is labelled.inputs and found != labelled.samples:
                raise _unfit(blob, f"it holds {found} samples, the model says {labelled.samples}")


def _check_samples(blob: Blob, arrays: dict[tuple[int, int], _Array], inputs: tuple[TensorSpec, ...]) -> int:
    """How many there are."""
    samples = 1 + max((sample for sample, _ in arrays), default=0)
    for sample, index in itertools.product(range(samples), range(len(inputs))):
        if (sample, index) not in arrays:
            raise _unfit(blob, f"sample {sample} has no input {index}; the model takes {len(inputs)}")
    for (sample, index), found in arrays.items():
        if index >= len(inputs):
            raise _unfit(blob, f"sample {sample} has an input {index}; the model takes {len(inputs)}")
        wanted = inputs[index]
        if found != (wanted.shape, wanted.dtype):
            raise _unfit(blob, f"input {index} of sample {sample} is {found}; the model takes {wanted}")
    return samples


def arrays_of(blob: Blob, file: BinaryIO) -> dict[tuple[int, int], _Array]:
    """Shape and type of each, by sample and index. Raises ModelError for what is no sound .npz file."""
    from numpy.lib import format as npy

    headers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    arrays = {}
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            if len(names) > _MAX_ARRAYS:
                raise _unfit(blob, f"it has more than {_MAX_ARRAYS:,} arrays")
            for name in names:
                found = _ARRAY.fullmatch(name)
                if found is None:
                    raise _unfit(blob, f"an array is named {name!r}, not SAMPLE.INPUT such as 0.0")
                with archive.open(name) as member:
                    shape, _, dtype = headers[npy.read_magic(member)](member)  # type: ignore[no-untyped-call]
                arrays[int(found[1]), int(found[2])] = _Array(shape, dtype.name)
    except _DAMAGED as error:
        raise _unfit(blob, f"it is no sound .npz file ({type(error).__name__}: {error})") from error
    return arrays


def _unfit(blob: Blob, what: str) -> ModelError:
    return ModelError(
        f"{blob.name} cannot be used: {what}.",
        remedy="Give .npz files with arrays named SAMPLE.INPUT, shaped and typed as the model's inputs.",
    )
