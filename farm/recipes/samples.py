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


def stacked(samples: Sequence[Sample], size: int) -> list[Sample]:
    """Batches of ``size`` samples along the first dimension; the last one is filled up with its last sample."""
    groups = [list(samples[start : start + size]) for start in range(0, len(samples), size)]
    filled = [group + [group[-1]] * (size - len(group)) for group in groups]
    return [tuple(np.concatenate(arrays) for arrays in zip(*group, strict=True)) for group in filled]


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


def check(samples: Sequence[Sample], inputs: Sequence[TensorSpec], what: str, *, first: int = 0) -> None:
    """Raises ModelError naming the first sample that does not fit ``inputs``, and how: the count, a shape, a type, or a
    value that is missing or out of range. ``first``: the number of the first one."""
    expected = ", ".join(map(str, inputs))
    for row, sample in enumerate(samples, first):
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
            _check_values(array, spec, f"Sample {row} of the {what}")


def _check_values(array: Array, spec: TensorSpec, where: str) -> None:
    if np.issubdtype(array.dtype, np.floating) and spec.fill != "keep":
        missing = np.isnan(array)
        if missing.any():
            raise ModelError(
                f"{where}: {_first(spec, missing)} is NaN ({np.count_nonzero(missing):,} of {array.size:,} values).",
                remedy='Give all values, or say what stands for missing ones: farm.Input(name, fill="mean", '
                '"interpolate" or a number; "keep" if the model knows NaN).',
            )
    low, high = spec.minimum, spec.maximum
    nowhere = np.zeros(array.shape, dtype=bool)
    for outside, limit in (
        (nowhere if low is None else array < low, f"below the minimum {low}"),
        (nowhere if high is None else array > high, f"above the maximum {high}"),
    ):
        if outside.any():
            at = tuple(int(axis[0]) for axis in np.nonzero(outside))
            raise ModelError(
                f"{where}: {_first(spec, outside)} is {array[at]}, {limit} "
                f"({np.count_nonzero(outside):,} of {array.size:,} values).",
                remedy="Scale or correct the values, or declare the range that the model takes.",
            )


def _first(spec: TensorSpec, mask: Any) -> str:
    """``image[0, 2, 5]``: the first place that is marked."""
    at = [str(int(axis[0])) for axis in np.nonzero(mask)]
    return f"{spec.name}[{', '.join(at)}]" if at else spec.name
