"""Transforms of the PyTorch program, one module per kind. What a runtime's own tools transform is in its module.

Other packages add theirs by the entry point group ``torchfarm.transforms``; recipes name it by ``farm.plugin(name)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol, cast

from farm.errors import RecipeSpecError
from farm.recipes.program import Program
from farm.types import Plugin, Transform

ENTRY_POINTS = "torchfarm.transforms"

# By kind. A module's ``apply`` imports its tools when it works.
_MODULES = {
    "cast": "precision",
    "quantize": "eager_int",
    "prune": "prune",
    "palettize": "palettize",
    "fuse": "fuse",
    "channels-last": "layout",
    "batch": "batch",
    "dynamic-batch": "batch",
    "distill": "distill",
}


@dataclass(frozen=True)
class Applied:
    """``program``: the transformed one (``Program.replaced``). Notes: what its user should know."""

    program: Program
    notes: tuple[str, ...] = ()


class ProgramTransform(Protocol):
    """``VERSION`` counts up whenever the same input makes another program."""

    @property
    def VERSION(self) -> int: ...

    @property
    def TOOLS(self) -> tuple[str, ...]:
        """Distributions whose versions determine what comes out."""

    def apply(self, program: Program, transform: Any) -> Applied:
        """Runs in the confined child. Raises RecipeError, and RecipeSpecError where the program does not allow it."""


def find(transform: Transform) -> ProgramTransform:
    """The module that makes this transform of a PyTorch program. Raises RecipeSpecError for an unknown plug-in."""
    if not isinstance(transform, Plugin):
        return cast(ProgramTransform, import_module(f"{__name__}.{_MODULES[transform.kind]}"))
    points = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if transform.name not in points:
        raise RecipeSpecError(
            f"There is no transform {transform.name!r}.",
            remedy=f"Installed here: {', '.join(sorted(points)) or 'none'}. Install its package wherever builds run.",
        )
    return cast(ProgramTransform, points[transform.name].load())
