"""What stands for values that are missing in a sample, as an input declares it (``TensorSpec.fill``). Pure.

A value is missing where a floating tensor is NaN or where a numpy masked array is masked; a whole input where it is
None. What is not to be filled is left as it is, for ``farm.recipes.samples.check`` to refuse.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from farm.errors import ModelError
from farm.recipes import samples
from farm.recipes.samples import Array
from farm.types import TensorSpec


def complete(value: Any, spec: TensorSpec, where: str) -> tuple[Array, int]:
    """The input as an array, and how many of its values were filled. Raises ModelError where that cannot be done."""
    if value is None:
        return _whole(spec, where)
    masked = np.broadcast_to(value.mask, value.shape) if isinstance(value, np.ma.MaskedArray) else None
    array = samples.as_array(value.data if masked is not None else value)
    missing = np.zeros(array.shape, dtype=bool) if masked is None else masked.copy()
    if np.issubdtype(array.dtype, np.floating) and spec.fill != "keep":
        missing |= np.isnan(array)
    count = int(np.count_nonzero(missing))
    if not count:
        return array, 0
    if spec.fill is None or spec.fill == "keep":
        if masked is None or not masked.any():
            return array, 0  # NaN, of which ``samples.check`` says where it is
        raise ModelError(
            f"{where}: {np.count_nonzero(masked):,} of {array.size:,} values of {spec.name} are masked.",
            remedy=f'Give them, or say what stands for them: farm.Input({spec.name!r}, fill="mean").',
        )
    filled = array.copy()
    if isinstance(spec.fill, float):
        filled[missing] = spec.fill
    else:
        how = _mean if spec.fill == "mean" else _interpolated
        values = how(array.astype(np.float64), missing, spec, where)
        exact = np.issubdtype(array.dtype, np.floating)
        filled[missing] = (values if exact else np.rint(values)).astype(array.dtype)
    return filled, count


def _whole(spec: TensorSpec, where: str) -> tuple[Array, int]:
    if not isinstance(spec.fill, float):
        raise ModelError(
            f"{where} has no {spec.name}; the model takes {spec}.",
            remedy=f"Give it, or a number that stands for all of it: farm.Input({spec.name!r}, fill=0).",
        )
    array = np.full(spec.shape, spec.fill, dtype=spec.dtype)
    return array, array.size


def _mean(array: Array, missing: Array, spec: TensorSpec, where: str) -> Array:
    present = array[~missing]
    if not present.size:
        raise _nothing(spec, where, "value")
    return np.full(int(np.count_nonzero(missing)), present.mean())


def _interpolated(array: Array, missing: Array, spec: TensorSpec, where: str) -> Array:
    """Beyond the outermost value that is there, that value."""
    flat = np.atleast_1d(array).reshape(-1, array.shape[-1] if array.ndim else 1).copy()
    gaps = missing.reshape(flat.shape)
    places = np.arange(flat.shape[1])
    for number in np.flatnonzero(gaps.any(axis=1)):
        row, gap = flat[number], gaps[number]
        if gap.all():
            raise _nothing(spec, where, f"value in line {number} of its last axis")
        row[gap] = np.interp(places[gap], places[~gap], row[~gap])
    return flat.reshape(array.shape)[missing]


def _nothing(spec: TensorSpec, where: str, what: str) -> ModelError:
    return ModelError(
        f"{where}: {spec.name} has no {what} that the missing ones could be filled from ({spec.fill}).",
        remedy="Leave the sample out, or declare a number to fill with.",
    )
