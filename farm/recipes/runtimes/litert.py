"""LiteRT (TensorFlow Lite) in fp32, converted by litert-torch."""

from __future__ import annotations

from pathlib import Path

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes.built import Built
from farm.types import ModelFormat, Recipe

FILE = "model.tflite"
VERSION = 1
TOOLS = ("torch", "litert-torch", "ai-edge-litert")
EXTRA = "litert"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT)
QUANTIZES = False
OPTIONS: dict[str, tuple[str, ...]] = {}


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    path = folder / FILE
    module = program.module()
    remedy = "Look at the end of the build's log; the operator it names may not be supported by LiteRT."
    with Boundary(RecipeError, "litert-torch does not convert the program", remedy):
        import litert_torch

        litert_torch.convert(module, program.tensors()).export(str(path))
    wide = [spec.name for spec in program.spec.inputs if spec.dtype == "int64"]
    return Built(path, (f"LiteRT takes int64 inputs as int32: {', '.join(wide)}.",) if wide else ())
