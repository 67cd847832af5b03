"""A labelled set in the user's hands: arrays, tensors, ``.npz`` or Parquet, checked before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from farm.analysis import metrics
from farm.errors import ModelError, UserError
from farm.recipes import samples
from farm.recipes.samples import Array, Sample
from farm.types import TensorSpec

LABELS = "labels"


@dataclass(frozen=True)
class EvaluationSet:
    """Inputs with what is right for each.

    ``inputs``: an array or tensor whose first axis counts samples (for a model that takes ``[1, 3, 32, 32]``, one of
    ``[n, 3, 32, 32]``), a dict of them by input name, a list of samples as in ``parity_inputs``, or the path of a file:
    ``.npz`` with such arrays by input name (or named ``"{sample}.{input}"``), or ``.parquet`` with a column per input.
    ``labels``: an array or list with one label per sample, or for a file of inputs the name of the array or column
    (default: ``labels``). Labels of a classification are class numbers, or names of ``class_names``.

    ``task``: ``classification``, ``regression``, or what a package brings (``torchfarm.metrics``), whose labels are a
    list of dicts of arrays, one for each sample. ``threshold``: above it, the one score of a binary classifier means
    yes. ``options`` go to the metric of such a package.
    """

    inputs: Any
    labels: Any = LABELS
    task: str = "classification"
    class_names: Sequence[str] = ()
    threshold: float | None = None
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)


def unpacked(given: EvaluationSet, inputs: Sequence[TensorSpec]) -> tuple[list[Any], dict[str, Array]]:
    """The set as samples for the model (rows of values, still unchecked) and the arrays of its label file.

    Raises ModelError: labels that are too few, NaN, of another kind, out of range; with the first one that is wrong.
    """
    rows, labels = _read(given, inputs)
    if given.task in ("classification", "regression"):
        per_sample = inputs[0].shape[0] if inputs[0].shape else 1
        if len(labels) not in (len(rows), len(rows) * per_sample):
            each = f", each of {per_sample} rows" if per_sample != 1 else ""
            raise _unfit(f"there are {len(labels)} labels for {len(rows)} samples{each}", "Give one label per sample.")
        check = _class_numbers if given.task == "classification" else _targets
        return rows, {LABELS: check(labels, given)}
    return rows, _of_plugin(given, labels, len(rows))


def _read(given: EvaluationSet, inputs: Sequence[TensorSpec]) -> tuple[list[Any], Any]:
    if isinstance(given.inputs, (str, Path)):
        path = Path(given.inputs)
        if not path.is_file():
            raise ModelError(f"There is no file {path}.", remedy="Give the path of an .npz or .parquet file.")
        columns = _parquet(path) if path.suffix == ".parquet" else _npz(path)
        labels = given.labels
        if isinstance(labels, str):
            if labels not in columns:
                raise _unfit(
                    f"{path.name} holds no labels {labels!r}; it has {_listed(columns)}", "Name the array or column."
                )
            labels = columns.pop(labels)
        elif isinstance(labels, Path):
            labels = _label_file(labels)
        if all(samples.is_key(name) for name in columns):
            return list(samples.numbered(columns, "evaluation inputs")), labels
        return _stacked(columns, inputs), labels
    if isinstance(given.labels, (str, Path)):
        if given.labels == LABELS:
            raise _unfit("there are inputs and no labels", "Give EvaluationSet(inputs, labels).")
        labels = _label_file(Path(given.labels))
    else:
        labels = given.labels
    if isinstance(given.inputs, Mapping):
        return _stacked({name: _kept(value) for name, value in given.inputs.items()}, inputs), labels
    if isinstance(given.inputs, (list, tuple)):
        return list(given.inputs), labels
    return _stacked({inputs[0].name: _kept(given.inputs)}, inputs), labels


def _label_file(path: Path) -> Any:
    columns = _parquet(path) if path.suffix == ".parquet" else _npz(path)
    return next(iter(columns.values())) if len(columns) == 1 else columns.get(LABELS, columns)


def _npz(path: Path) -> dict[str, Array]:
    return samples.read_arrays(path, "evaluation set")


def _parquet(path: Path) -> dict[str, Array]:
    """Columns as arrays; nested lists of one length become further axes, nulls become NaN."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError("Parquet needs pyarrow, which is not installed.", remedy="pip install pyarrow") from error
    try:
        table = pq.read_table(path)
        return {name: _column(name, table[name]) for name in table.column_names}
    except (pa.ArrowException, OSError) as error:
        raise _unfit(f"{path.name} cannot be read as Parquet: {error}", "Write it with pyarrow or pandas.") from error


def _column(name: str, column: Any) -> Array:
    values = column.to_numpy(zero_copy_only=False)
    if values.dtype != object:
        return np.asarray(values)
    if all(isinstance(value, str) for value in values):
        return np.asarray(values, dtype=np.str_)
    try:
        plain = np.asarray(column.to_pylist())
    except ValueError as error:
        raise _unfit(f"column {name!r} has rows of different lengths: {error}", "Store equal lists per row.") from error
    return plain.astype(np.float64) if plain.dtype == object else plain


def _stacked(columns: Mapping[str, Array], inputs: Sequence[TensorSpec]) -> list[Sample]:
    """Samples from one array per input: the first axis counts them, or counts their rows."""
    wanted = {spec.name for spec in inputs}
    if columns.keys() != wanted:
        raise _unfit(
            f"it has the inputs {_listed(columns)}, the model takes {_listed(wanted)}",
            "Name the arrays after the inputs.",
        )
    split = {spec.name: _split(columns[spec.name], spec) for spec in inputs}
    counts = {name: len(rows) for name, rows in split.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise _unfit(f"there are {told}", "Give each input for every sample.")
    return list(zip(*(split[spec.name] for spec in inputs), strict=True))


def _split(array: Array, spec: TensorSpec) -> list[Array]:
    """By samples: the first axis counts them, or the rows of all; a table holds each flat. Types that hold the same
    values (float64 from a table) become the input's."""
    rows = spec.shape[0] if spec.shape else 0
    if array.shape[1:] != spec.shape and array.ndim:
        by_rows = rows and array.shape[1:] == spec.shape[1:] and len(array) % rows == 0
        flat = array.ndim == 2 and array.shape[1] == math.prod(spec.shape)
        if by_rows or flat:
            array = array.reshape(-1, *spec.shape)
    if array.ndim == 0 or array.shape[1:] != spec.shape:
        got = f"{array.dtype}[{', '.join(map(str, array.shape))}]"
        raise _unfit(f"{spec.name} is {got}, the model takes {spec} per sample", "Stack samples of the model's shape.")
    if array.dtype.name != spec.dtype and _same_kind(array, spec.dtype):
        array = array.astype(spec.dtype)
    return list(array)


def _same_kind(array: Array, dtype: str) -> bool:
    wanted = np.dtype(dtype)
    if np.issubdtype(array.dtype, np.floating) and np.issubdtype(wanted, np.floating):
        return True
    if not (np.issubdtype(array.dtype, np.integer) and np.issubdtype(wanted, np.integer)):
        return False
    return bool(np.array_equal(array.astype(wanted), array))


def _class_numbers(labels: Any, given: EvaluationSet) -> Array:
    array = _plain(labels)
    if array.ndim != 1:
        raise _unfit(f"labels have the shape {list(array.shape)}", "Give one class number per sample.")
    if np.issubdtype(array.dtype, np.floating):
        missing = np.flatnonzero(np.isnan(array))
        if len(missing):
            raise _unfit(f"label {missing[0]} is NaN ({len(missing)} of {len(array)})", "Leave these samples out.")
        raise _unfit(f"labels are {array.dtype}, label 0 is {array[0]}", "Give class numbers as integers.")
    if array.dtype.kind in "US":
        numbers = {name: number for number, name in enumerate(given.class_names)}
        unknown = [(at, str(name)) for at, name in enumerate(array) if str(name) not in numbers]
        if unknown:
            known = _listed(numbers) if numbers else "none were given"
            raise _unfit(
                f"label {unknown[0][0]} is {unknown[0][1]!r}, the class names are {known}", "Give class_names."
            )
        return np.asarray([numbers[str(name)] for name in array], dtype=np.int64)
    if array.dtype.kind not in "iub":
        raise _unfit(f"labels are {array.dtype}", "Give class numbers as integers.")
    most = len(given.class_names) or None
    wrong = np.flatnonzero((array < 0) | (array >= most if most else False))
    if len(wrong):
        classes = f"0 to {most - 1}" if most else "0 and more"
        raise _unfit(
            f"label {wrong[0]} is {array[wrong[0]]}, classes are {classes} ({len(wrong)} such labels)", "Correct them."
        )
    return array.astype(np.int64)


def _targets(labels: Any, given: EvaluationSet) -> Array:
    array = _plain(labels)
    if array.dtype.kind not in "iufb":
        raise _unfit(f"labels are {array.dtype}", "Give numbers.")
    array = array.astype(np.float64)
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        at = tuple(map(int, wrong[0]))
        raise _unfit(f"label {at[0]} holds {array[at]} ({len(wrong)} such values)", "Leave these samples out.")
    return array


def _of_plugin(given: EvaluationSet, labels: Any, count: int) -> dict[str, Array]:
    if not isinstance(labels, Mapping):
        if not isinstance(labels, (list, tuple)) or not all(isinstance(label, Mapping) for label in labels):
            raise _unfit(
                f"labels of the task {given.task!r} are {type(labels).__name__}", "Give a list with a dict per sample."
            )
        if len(labels) != count:
            raise _unfit(f"there are {len(labels)} labels for {count} samples", "Give one dict per sample.")
        labels = {
            f"{number}.{name}": _plain(value) for number, label in enumerate(labels) for name, value in label.items()
        }
    from farm.analysis.evaluation import by_sample

    arrays = {name: np.asarray(value) for name, value in labels.items()}
    if objects := [name for name, value in arrays.items() if value.dtype == object]:
        raise _unfit(f"label {objects[0]} is no plain array", "Give numbers, or texts of dtype str.")
    metrics.find(given.task).check(by_sample(arrays, count), given.options)
    return arrays


def _kept(value: Any) -> Array:
    """With its mask, where it has one."""
    return value if isinstance(value, np.ma.MaskedArray) else samples.as_array(value)


def _plain(labels: Any) -> Array:
    return np.asarray(labels) if isinstance(labels, (list, tuple, int, float, str)) else samples.as_array(labels)


def _listed(names: Any, most: int = 8) -> str:
    listed = sorted(map(str, names))
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "") or "nothing"


def _unfit(what: str, remedy: str) -> ModelError:
    return ModelError(f"The evaluation set cannot be used: {what}.", remedy=remedy)
