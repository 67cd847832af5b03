"""Samples in the user's hands: what an input is declared to be, and how samples are taken in by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from pydantic import ValidationError

from farm.errors import ModelError
from farm.recipes import samples, schema
from farm.recipes.samples import Sample
from farm.types import DType, Filled, TensorSpec

Fill = Literal["mean", "interpolate", "keep"] | float | None


@dataclass(frozen=True)
class Input:
    """What one input of a model takes, in positional order. What is left out comes from the example inputs.

    Values outside [``minimum``, ``maximum``] are refused, and NaN, unless ``fill`` says what stands for missing ones:
    ``"mean"`` of the tensor's other values, ``"interpolate"`` along the last axis, a number, or ``"keep"`` for models
    that know NaN. A number also stands for an input that a sample lacks. What was filled is told with every result.
    """

    name: str
    minimum: float | None = None
    maximum: float | None = None
    fill: Fill = None
    shape: Sequence[int] | None = None
    dtype: str | None = None

    @classmethod
    def parse(cls, text: str) -> Input:
        """``image,minimum=0,maximum=1,fill=mean``. Raises ModelError."""
        name, *rest = (part.strip() for part in text.split(","))
        given: dict[str, Any] = {}
        for part in rest:
            key, _, value = part.partition("=")
            if key not in ("minimum", "maximum", "fill") or not value:
                raise ModelError(
                    f"{part!r} of the input {text!r} says nothing that is known.",
                    remedy="Write NAME,minimum=0,maximum=1,fill=mean (or interpolate, keep, a number).",
                )
            given[key] = value if value in ("mean", "interpolate", "keep") and key == "fill" else _number(value, text)
        return cls(name, **given)


def _number(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ModelError(f"{text!r} in {whole!r} is no number.", remedy="Write e.g. image,minimum=0.") from error


def rows(value: Any, what: str) -> list[Any]:
    """Samples as they were given, from a list or an ``.npz`` file. Raises ModelError for anything else."""
    if isinstance(value, (str, Path)):
        return list(samples.read(Path(value), f"{what} inputs"))
    if not isinstance(value, (list, tuple)) or not value:
        raise ModelError(
            f"The {what} inputs are a {type(value).__name__}, not a list of samples.",
            remedy="Give a list with one tensor or tuple of tensors per sample, or the path of an .npz file.",
        )
    return list(value)


def declared(example: Any, names: Sequence[str], inputs: Sequence[Input]) -> tuple[TensorSpec, ...]:
    """The schema that an example and what is declared make together. Raises ModelError where they contradict."""
    by_name = {given.name: given for given in inputs}
    if unknown := [name for name in by_name if name not in names]:
        raise ModelError(
            f"{unknown[0]!r} is declared and no input of the model ({', '.join(names)}).",
            remedy="Declare inputs under their names.",
        )
    return tuple(
        _spec(value, name, by_name.get(name, Input(name)))
        for name, value in zip(names, _positional(example, names, "The example"), strict=True)
    )


def _spec(value: Any, name: str, given: Input) -> TensorSpec:
    if value is None and (given.shape is None or given.dtype is None):
        raise ModelError(
            f"The example has no {name}, and its shape and type are not declared.",
            remedy=f"Give it in the example, or farm.Input({name!r}, shape=..., dtype=..., fill=0).",
        )
    if value is None:
        shape, dtype = tuple(given.shape or ()), str(given.dtype)
    else:
        array = samples.as_array(value.data if isinstance(value, np.ma.MaskedArray) else value)
        (found,) = samples.describe((array,), [name])
        shape, dtype = found.shape, found.dtype
        for what, wanted, is_ in (("shape", given.shape, shape), ("dtype", given.dtype, dtype)):
            if wanted is not None and (tuple(wanted) if what == "shape" else wanted) != is_:
                raise ModelError(
                    f"{name} is declared with the {what} {wanted}, in the example it is {is_}.",
                    remedy="Correct one of them.",
                )
    fill = float(given.fill) if isinstance(given.fill, (int, float)) else given.fill
    try:
        return TensorSpec(
            name=name,
            shape=shape,
            dtype=cast(DType, dtype),
            minimum=given.minimum,
            maximum=given.maximum,
            fill=fill,
        )
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ModelError(f"Input {name} is declared wrongly: {said}.", remedy="Correct farm.Input.") from error


def _positional(row: Any, names: Sequence[str], where: str) -> tuple[Any, ...]:
    """The sample's inputs in order; what a dict lacks, and what a tuple has at its place, is None."""
    if isinstance(row, Mapping):
        if unknown := [name for name in row if name not in names]:
            raise ModelError(
                f"{where} has an input {unknown[0]!r}; the model takes {', '.join(names)}.",
                remedy="Name the inputs as the model does.",
            )
        return tuple(row.get(name) for name in names)
    return tuple(row) if isinstance(row, (list, tuple)) else (row,)


@dataclass
class Intake:
    """Takes samples in by a schema, and keeps account of what it had to fill."""

    specs: Sequence[TensorSpec]
    filled: list[Filled] = field(default_factory=list)

    def take(self, given: Sequence[Any], what: str) -> list[Sample]:
        """Complete samples that fit. Raises ModelError that names the sample, the input, the place and the value."""
        names = [spec.name for spec in self.specs]
        taken: list[Sample] = []
        counts: dict[str, list[int]] = {name: [] for name in names}
        for number, row in enumerate(given):
            where = f"Sample {number} of the {what}"
            values = _positional(row, names, where)
            if len(values) != len(names):
                samples.check([tuple(values)], self.specs, what, first=number)
            sample = []
            for value, spec in zip(values, self.specs, strict=True):
                array, count = schema.complete(value, spec, where)
                sample.append(array)
                if count:
                    counts[spec.name].append(count)
            samples.check([tuple(sample)], self.specs, what, first=number)
            taken.append(tuple(sample))
        self.filled += [
            Filled(input=spec.name, of=what, policy=_policy(spec), values=sum(found), samples=len(found))
            for spec in self.specs
            if (found := counts[spec.name])
        ]
        return taken


def _policy(spec: TensorSpec) -> str:
    return f"{spec.fill:g}" if isinstance(spec.fill, float) else str(spec.fill)
