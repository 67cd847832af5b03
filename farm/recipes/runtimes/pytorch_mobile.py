"""PyTorch Mobile's lite interpreter: frozen TorchScript, optimized as a frozen graph, as ``.ptl``.

``optimize_for_mobile`` needs an XNNPACK build of PyTorch, which the wheels are not.
"""

from __future__ import annotations

from pathlib import Path

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes import torchscript
from farm.recipes.runtimes.built import Built, Values
from farm.types import ModelFormat, Recipe

FILES = ("model.ptl",)
VERSION = 1
TOOLS = ("torch",)
EXTRA = "torch"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT)
TOOLS_FOR: dict[str, tuple[str, ...]] = {}
NATIVE: tuple[str, ...] = ()
REFUSES: dict[str, str] = torchscript.REFUSES
OPTIONS: dict[str, Values] = {}
PRESETS = ((Recipe("pytorch-mobile"), "PyTorch Mobile's lite interpreter (.ptl)."),)


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    import torch

    path = folder / FILES[0]
    script = torchscript.frozen(program)
    with Boundary(RecipeError, "Saving for the lite interpreter failed", "Look at the end of the build's log."):
        torch._C._jit_pass_optimize_frozen_graph(script.graph, True)
        script._save_for_lite_interpreter(str(path))
    return Built()
