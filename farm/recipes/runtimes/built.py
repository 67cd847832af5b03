"""What a runtime's builder is: one module per runtime with these names in it.

Other packages add runtimes by the entry point group ``torchfarm.runtimes``: the entry point's name is the runtime's,
its object has these attributes. What measures the artifacts is added by ``torchfarm.harness_runtimes``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from farm.recipes.program import Program
from farm.types import Delegation, ModelFormat, Recipe

Values = tuple[str | int | float | bool, ...]


@dataclass(frozen=True)
class Built:
    """Notes: what a user of the artifact should know about how it was made."""

    notes: tuple[str, ...] = ()
    delegation: Delegation | None = None


class Builder(Protocol):
    """``VERSION`` counts up whenever the same input makes a different artifact: it is part of the build key."""

    @property
    def FILES(self) -> tuple[str, ...]:
        """Names of the artifact's files, the one that stands for it first."""

    @property
    def VERSION(self) -> int: ...

    @property
    def TOOLS(self) -> tuple[str, ...]:
        """Distributions whose versions determine the artifact."""

    @property
    def TOOLS_FOR(self) -> Mapping[str, tuple[str, ...]]:
        """Further ones, by the label of a native transform (``int8-static``) or an option (``backend=openvino``).

        What no package index has is written ``$VARIABLE``: the environment variable that leads to its folder."""

    @property
    def EXTRA(self) -> str:
        """Of torchfarm, that installs them."""

    @property
    def ACCEPTS(self) -> tuple[ModelFormat, ...]: ...

    @property
    def NATIVE(self) -> tuple[str, ...]:
        """Labels of the transforms that its own tools make. All others are made on the PyTorch program before.
        ``fp16 backend=coreml``: with that option alone."""

    @property
    def REFUSES(self) -> Mapping[str, str]:
        """Transforms that make no sense for it, by label, with the reason (``channels-last``: it chooses itself).
        ``int8-static backend=vulkan``: not with that option."""

    @property
    def OPTIONS(self) -> Mapping[str, Values]:
        """Option names to their values, the default first."""

    @property
    def PRESETS(self) -> tuple[tuple[Recipe, str], ...]:
        """Its recipes that have a name of their own, each with a summary in one sentence."""

    # ``NEEDS_GPU = True`` in a module: it builds on machines with an NVIDIA GPU alone (specification.needs_gpu).

    def build(self, program: Program, recipe: Recipe, folder: Path) -> Built:
        """Write ``folder / name`` for each of ``FILES``. ``recipe.transforms`` are the native ones alone, and
        ``recipe.options`` are complete. Runs in the confined child. Raises ModelError, RecipeError."""
