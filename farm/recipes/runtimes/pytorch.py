"""Eager PyTorch: the exported program itself, cleaned, without sample inputs."""

from __future__ import annotations

from pathlib import Path

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes import compressed
from farm.recipes.runtimes.built import Built, Values
from farm.types import ModelFormat, Recipe

FILES = ("model.pt2",)
VERSION = 1
TOOLS = ("torch",)
EXTRA = "torch"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT)
TOOLS_FOR: dict[str, tuple[str, ...]] = {}
NATIVE: tuple[str, ...] = ()
REFUSES: dict[str, str] = {}
OPTIONS: dict[str, Values] = {}
PRESETS = (
    (Recipe("pytorch"), "Eager PyTorch: the baseline."),
    *compressed.presets("pytorch", "Eager PyTorch", "pruned50", "pruned50-structured", "palettized4", "distilled"),
)


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    import torch

    exported = program.exported()
    exported.example_inputs = None
    path = folder / FILES[0]
    with Boundary(RecipeError, "torch.export.save failed", "Look at the end of the build's log."):
        torch.export.save(exported, str(path))
    return Built()
