"""Model inputs and outputs in files: ``.npz`` with arrays named ``"{sample}.{tensor}"``, and their check against the
inputs that a model declares. Nothing is ever unpickled."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias, get_args

import numpy as np

from farm.errors import ModelError
from farm.recipes.boundary import Boundary
from farm.types import DType, TensorSpec

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Sample: TypeAlias = tuple[Array, ...]

DTYPES: frozenset[str] = frozenset(get_args(DType))
_KEY = re.compile(r"(\d+)\.(\d+)")
_REMEDY = 'Save it with numpy.savez; name the arrays "0.0", "0.1", "1.0", ...: sample, then input.'


def write(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples as ``"{sample}.{tensor}"``."""
    arrays = {f"{row}.{column}": array for row, sample in enumerate(samples) for column, array in enumerate(sample)}
    np.savez(path, **arrays)  # type: ignore[arg-type]


def read(path: Path, what: str) -> list[Sample]:
    """Read samples in order. Raises ModelError where the file is no ``.npz`` of plain arrays with such names."""
    return numbered(read_arrays(path, what), what)


def read_arrays(file: Path | IO[bytes], what: str) -> dict[str, Array]:
    """All arrays by name. Raises ModelError where the file is no ``.npz`` of plain arrays."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise ModelError(f"The {what} cannot be read as .npz: {error}.", remedy=_REMEDY) from error


def numbered(arrays: Mapping[str, Array], what: str) -> list[Sample]:
    """Arrays named ``"{sample}.{tensor}"`` as samples. Raises ModelError for other names and for gaps."""
    found: dict[int, dict[int, Array]] = {}
    for key, array in arrays.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise ModelError(f"The {what} hold an array named {key!r}.", remedy=_REMEDY)
        found.setdefault(int(match[1]), {})[int(match[2])] = array
    if sorted(found) != list(range(len(found))) or any(sorted(row) != list(range(len(row))) for row in found.values()):
        raise ModelError(f"The {what} have gaps in their numbering.", remedy=_REMEDY)
    if not found:
        raise ModelError(f"The {what} are empty.", remedy="Give at least one sample.")
    return [tuple(found[row][column] for column in range(len(found[row]))) for row in range(len(found))]


def is_key(name: str) -> bool:
    """Whether it is the name of an array in a file of samples."""
    return _KEY.fullmatch(name) is not None


def as_array(value: Any) -> Array:
    """A tensor or array as an array. Raises ModelError for anything else."""
    if not isinstance(value, (np.ndarray, np.generic)):
        if not all(hasattr(value, method) for method in ("detach", "cpu", "numpy")):
            raise ModelError(
                f"An input is a {type(value).__name__}, not a tensor or array.",
                remedy="Measure the model with tensor inputs only: wrap it if it takes dicts, lists or numbers.",
            )
        remedy = "Use a dense tensor of a type that numpy knows, e.g. x.float()."
        with Boundary(ModelError, "An input tensor cannot be turned into an array", remedy):
            value = value.detach().cpu().numpy()
    return np.array(value, order="C")


def describe(sample: Sample, names: Sequence[str]) -> tuple[TensorSpec, ...]:
    """Names, shapes and types of one sample. Raises ModelError for a type that the runtimes do not share."""
    for name, array in zip(names, sample, strict=True):
        if array.dtype.name not in DTYPES:
            raise ModelError(
                f"Input {name!r} is of type {array.dtype}, which cannot be measured.",
                remedy=f"Use one of {', '.join(sorted(DTYPES))}.",
            )
    return tuple(
        TensorSpec(name=name, shape=array.shape, dtype=array.dtype.name)
        for name, array in zip(names, sample, strict=True)
    )


def check(samples: Sequence[Sample], inputs: Sequence[TensorSpec], what: str) -> None:
    """Raises ModelError naming the first sample that does not fit ``inputs``, and how."""
    expected = ", ".join(map(str, inputs))
    for row, sample in enumerate(samples):
        if len(sample) != len(inputs):
            raise ModelError(
                f"Sample {row} of the {what} has {len(sample)} inputs, the model takes {len(inputs)} ({expected}).",
                remedy="Give every input in positional order.",
            )
        for array, spec in zip(sample, inputs, strict=True):
            if array.shape != spec.shape or array.dtype.name != spec.dtype:
                got = f"{array.dtype.name}[{', '.join(map(str, array.shape))}]"
                raise ModelError(
                    f"Sample {row} of the {what}: {spec.name} is {got}, the model takes {spec}.",
                    remedy="Give arrays of the shape and type of the example inputs.",
                )
