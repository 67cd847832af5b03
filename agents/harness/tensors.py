"""Arrays from ``.npz`` files, and whether they are what the program takes."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.harness.failure import Failure, Fault

Array = NDArray[Any]
Sample = list[Array]

INT32 = np.iinfo(np.int32)
DTYPES = frozenset(map(np.dtype, ("float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool")))


@dataclass(frozen=True)
class Input:
    """What a program says of one input.

    ``shape`` and ``dtype`` are None where its format does not tell; a None in ``shape`` is a dimension of any size.
    ``at_most``: ``shape`` may be the largest instead of the only one. ``narrows``: dtypes that the program's ``bind``
    converts as long as the values fit.
    """

    name: str
    shape: tuple[int | None, ...] | None = None
    dtype: str | None = None
    at_most: bool = False
    narrows: tuple[str, ...] = ()

    def __str__(self) -> str:
        shape = "..." if self.shape is None else ", ".join("*" if size is None else str(size) for size in self.shape)
        return f"{self.dtype or 'tensor'}[{shape}]"

    def takes_shape(self, shape: tuple[int, ...], *, exactly: bool) -> bool:
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            limit is None or size == limit or (self.at_most and not exactly and size < limit)
            for size, limit in zip(shape, self.shape, strict=True)
        )

    def takes_dtype(self, dtype: str) -> bool:
        return self.dtype is None or dtype == self.dtype or dtype in self.narrows


def load(path: Path) -> list[Sample]:
    """Samples of an ``.npz`` file whose arrays are named ``"{sample}.{index}"``, in order, each C-contiguous.

    Raises Failure ``missing-file`` or ``bad-tensors``. Never unpickles.
    """
    return list(stream(path))


def stream(path: Path) -> Iterator[Sample]:
    """As ``load``, one sample after the other, for sets that need not be in memory at once."""
    require([path])
    if not zipfile.is_zipfile(path):
        raise _bad(path, "is no .npz file, or is cut")
    with _readable(path), np.load(path, allow_pickle=False) as archive:
        names = _ordered(path, archive.files)
        for number, sample_names in enumerate(names):
            sample = [np.asarray(archive[name], order="C") for name in sample_names]
            for index, array in enumerate(sample):
                if array.dtype not in DTYPES:
                    raise _bad(path, f"holds {array.dtype} in {number}.{index}; the farm knows {_known()}")
            yield sample


def _ordered(path: Path, names: Sequence[str]) -> list[list[str]]:
    """The arrays' names, sample by sample."""
    left, samples = set(names), list[list[str]]()
    while f"{len(samples)}.0" in left:
        number, sample = len(samples), list[str]()
        while (name := f"{number}.{len(sample)}") in left:
            left.remove(name)
            sample.append(name)
        samples.append(sample)
    if left or not samples:
        listed = ", ".join(sorted(left)[:5]) or "nothing"
        raise _bad(path, f'should hold arrays named "0.0", "0.1", "1.0" and so on without gaps; it has {listed}')
    return samples


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _bad(path, f"cannot be read as plain arrays: {error}") from error


def stacked(samples: Sequence[Sample], size: int) -> list[Sample]:
    """Batches of ``size`` samples along the first dimension; the last one is filled up with its last sample.

    Raises Failure ``no-batch`` where the inputs have no such dimension."""
    if size == 1:
        return list(samples)
    groups = [[*samples[start : start + size]] for start in range(0, len(samples), size)]
    filled = [group + [group[-1]] * (size - len(group)) for group in groups]
    return [[_concatenated(arrays) for arrays in zip(*group, strict=True)] for group in filled]


def unstacked(outputs: Sequence[Array], size: int) -> list[Sample]:
    """The outputs of each sample of a batch. Raises Failure ``no-batch``."""
    if size == 1:
        return [list(outputs)]
    for index, output in enumerate(outputs):
        if output.ndim == 0 or len(output) % size:
            raise _no_batch(f"output {index} is {describe(output)}", size, fault="recipe")
    return [list(each) for each in zip(*(np.split(output, size) for output in outputs), strict=True)]


def _concatenated(arrays: Sequence[Array]) -> Array:
    if arrays[0].ndim == 0:
        raise _no_batch("an input is a number", len(arrays), fault="user")
    return np.concatenate(arrays)


def _no_batch(what: str, size: int, fault: Fault) -> Failure:
    message = f"A batch of {size} samples cannot be told apart: {what}."
    remedy = "Use batches only for models whose inputs and outputs have the batch as their first dimension."
    return Failure("no-batch", message, remedy=remedy, fault=fault)


def check(inputs: Sequence[Input], sample: Sample, what: str, *, exactly: bool = False) -> None:
    """Raise Failure ``wrong-input-count``, ``-shape`` or ``-dtype`` naming the difference when ``sample`` (said to be
    ``what``) is not what the program takes. ``exactly``: take ``Input.at_most`` shapes for the only ones."""
    if len(sample) != len(inputs):
        names = ", ".join(each.name for each in inputs) or "none"
        given = f"{what}: {len(sample)} inputs given, the program takes {len(inputs)} ({names})."
        raise _wrong("wrong-input-count", given)
    for index, (expected, array) in enumerate(zip(inputs, sample, strict=True)):
        given = f"{what}: input {index} ({expected.name}) is {describe(array)}, the program takes {expected}."
        if not expected.takes_shape(array.shape, exactly=exactly):
            raise _wrong("wrong-input-shape", given)
        if not expected.takes_dtype(str(array.dtype)):
            raise _wrong("wrong-input-dtype", given)


def narrowed(name: str, array: Array, runtime: str) -> Array:
    """int64 as int32, for runtimes that have no wider integers. Raises Failure where a value does not fit."""
    if array.dtype != np.int64:
        return array
    if array.size and (array.min() < INT32.min or array.max() > INT32.max):
        raise Failure(
            "wrong-input-range",
            f"Input {name} holds {array.min()} to {array.max()}; {runtime} made it int32.",
            remedy="Use inputs within the range of int32, or another recipe for this model.",
            fault="recipe",
        )
    return array.astype(np.int32)


def describe(array: Array) -> str:
    return f"{array.dtype}[{', '.join(map(str, array.shape))}]"


def require(paths: Iterable[Path]) -> None:
    """Raise Failure ``missing-file`` naming the first file that is not there."""
    for path in paths:
        if not path.is_file():
            raise _missing(path)


def _missing(path: Path) -> Failure:
    return Failure(
        "missing-file",
        f"{path} does not exist on the device.",
        remedy="Check that the device has space, then run the job again: the agent sends the files anew.",
        fault="device",
    )


def _bad(path: Path, why: str) -> Failure:
    remedy = "Write it with numpy.savez from plain arrays, or let farm.Client package the model."
    return Failure("bad-tensors", f"{path.name} {why}.", remedy=remedy, fault="user")


def _wrong(code: str, message: str) -> Failure:
    remedy = "Submit the model with example and parity inputs of the count, shapes and dtypes that it takes."
    return Failure(code, message, remedy=remedy, fault="user")


def _known() -> str:
    return ", ".join(sorted(map(str, DTYPES)))
