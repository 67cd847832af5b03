"""What a runtime's builder is: one module per runtime with these names in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from farm.recipes.program import Program
from farm.types import ModelFormat, Recipe


@dataclass(frozen=True)
class Built:
    """The artifact's file, and what its user should know about how it was made."""

    file: Path
    notes: tuple[str, ...] = ()


class Builder(Protocol):
    """``VERSION`` counts up whenever the same input makes a different artifact: it is part of the build key."""

    @property
    def FILE(self) -> str:
        """Name of the artifact's file."""

    @property
    def VERSION(self) -> int: ...

    @property
    def TOOLS(self) -> tuple[str, ...]:
        """Distributions whose versions determine the artifact."""

    @property
    def EXTRA(self) -> str:
        """Of torchfarm, that installs them."""

    @property
    def ACCEPTS(self) -> tuple[ModelFormat, ...]: ...

    @property
    def QUANTIZES(self) -> bool:
        """Whether it understands the static int8 transform."""

    @property
    def OPTIONS(self) -> dict[str, tuple[str, ...]]:
        """Option names to their values; all are required."""

    def build(self, program: Program, recipe: Recipe, folder: Path) -> Built:
        """Write ``folder / FILE``. Runs in the confined child. Raises ModelError, RecipeError."""
