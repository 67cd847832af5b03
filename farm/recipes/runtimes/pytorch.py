"""Eager PyTorch: the exported program itself, cleaned, without sample inputs."""

from __future__ import annotations

from pathlib import Path

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes.built import Built
from farm.types import ModelFormat, Recipe

FILE = "model.pt2"
VERSION = 1
TOOLS = ("torch",)
EXTRA = "torch"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT)
QUANTIZES = False
OPTIONS: dict[str, tuple[str, ...]] = {}


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    import torch

    exported = program.exported()
    exported.example_inputs = None
    path = folder / FILE
    with Boundary(RecipeError, "torch.export.save failed", "Look at the end of the build's log."):
        torch.export.save(exported, str(path))
    return Built(path)
