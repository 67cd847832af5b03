"""What happens before and after a model: as part of it (``with_steps``), or as declared steps in numpy that run around
it and are timed apart (the classes here, given as ``preprocessing=`` and ``postprocessing=``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agents.harness import steps as harness
from agents.harness.failure import Failure
from farm.errors import ModelError
from farm.recipes.samples import Sample
from farm.types.steps import (
    ArgMax,
    CastTo,
    Crop,
    Expand,
    NonMaximumSuppression,
    Normalize,
    Pad,
    Resize,
    Scale,
    Sigmoid,
    Softmax,
    Step,
    Threshold,
    TopK,
    Transpose,
)

__all__ = [
    "ArgMax",
    "CastTo",
    "Crop",
    "Expand",
    "NonMaximumSuppression",
    "Normalize",
    "Pad",
    "Resize",
    "Scale",
    "Sigmoid",
    "Softmax",
    "Step",
    "Threshold",
    "TopK",
    "Transpose",
    "parsed",
    "run",
    "with_steps",
]

_STEPS: TypeAdapter[tuple[Step, ...]] = TypeAdapter(tuple[Step, ...])


def parsed(given: Sequence[Any], what: str) -> tuple[Step, ...]:
    """Steps, also written as dicts (``{"kind": "softmax"}``). Raises ModelError naming the one that is wrong; before a
    model host steps come first, after it last: what has passed the device does not return to it."""
    try:
        steps = _STEPS.validate_python(tuple(given))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        raise ModelError(f"{what} {place}: {said}.", remedy="Correct that step; docs/inputs.md lists them.") from error
    ordered = sorted(steps, key=lambda step: (step.where == "device") == (what == "preprocessing"))
    if list(ordered) != list(steps):
        place = "before" if what == "preprocessing" else "after"
        raise ModelError(
            f"In {what} a host step does not come {place} all device steps.",
            remedy=f"Put host steps {place} those of the device.",
        )
    return steps


def run(steps: Sequence[Step], tensors: Sequence[Any], where: str) -> Sample:
    """As the device does it, with the same code. Raises ModelError naming the step, and what it was given."""
    try:
        return tuple(harness.run([step.model_dump() for step in steps], tensors))
    except Failure as failure:
        raise ModelError(f"{where}: {failure.message}", remedy=failure.remedy) from failure


def with_steps(
    module: Any, *, before: Sequence[Callable[..., Any]] = (), after: Sequence[Callable[..., Any]] = ()
) -> Any:
    """A module that does ``before``, the given module, ``after``, one with the results of the other: exported with it,
    converted with it, and timed with it. Each is a module or a function of tensors that ``torch.export`` can follow."""
    import torch

    class WithSteps(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.module = module
            self.parts = torch.nn.ModuleList(
                step for step in (*before, *after) if isinstance(step, torch.nn.Module)
            )  # so that their parameters are the module's

        def forward(self, *inputs: Any) -> Any:
            values: Any = inputs
            for step in (*before, self.module, *after):
                values = step(*values) if isinstance(values, tuple) else step(values)
            return values

    return WithSteps().train(module.training)
