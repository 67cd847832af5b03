"""What a task of its own is judged by: metrics of other packages, found by the entry point group ``torchfarm.metrics``.

    [project.entry-points."torchfarm.metrics"]
    wer = "my_package.metrics:WordErrorRate"

The entry point's name is the task, its object a class without arguments or a module with these names in it. It has to
be installed on the head, and where models are uploaded from if labels are to be checked there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeAlias, cast

import numpy as np

from farm.errors import ModelError

ENTRY_POINTS = "torchfarm.metrics"
_OURS = {"detection": "farm.analysis.detection"}

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Sample: TypeAlias = Sequence[Array]
Label: TypeAlias = Mapping[str, Array]
Options: TypeAlias = Mapping[str, str | int | float | bool]


class Metric(Protocol):
    @property
    def score(self) -> str:
        """The figure that variants are compared by: a key of what ``compute`` gives."""

    @property
    def higher_is_better(self) -> bool: ...

    def check(self, labels: Sequence[Label], options: Options) -> None:
        """Raises ModelError naming the first label (the arrays of one sample, by name) that cannot be used, and why."""

    def compute(self, outputs: Sequence[Sample], labels: Sequence[Label], options: Options) -> Mapping[str, float]:
        """Figures over samples, each with the model's outputs in order. Called again for resamples of the set."""


def find(task: str) -> Metric:
    """Raises ModelError with the tasks that there are."""
    points = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if task in _OURS:
        return cast(Metric, import_module(_OURS[task]))
    if task not in points:
        known = ", ".join(["classification", "regression", *_OURS, *sorted(points)])
        raise ModelError(
            f"There is no evaluation task {task!r}.",
            remedy=f"Here there are {known}; a package adds others by the entry point group {ENTRY_POINTS}.",
        )
    found = points[task].load()
    return cast(Metric, found() if isinstance(found, type) else found)
