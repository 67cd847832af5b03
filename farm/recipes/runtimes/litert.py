"""LiteRT (TensorFlow Lite) in fp32, converted by litert-torch."""

from __future__ import annotations

from pathlib import Path

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes import compressed
from farm.recipes.runtimes.built import Built, Values
from farm.types import ModelFormat, Recipe

FILES = ("model.tflite",)
VERSION = 1
TOOLS = ("torch", "litert-torch", "ai-edge-litert")
EXTRA = "litert"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT)
TOOLS_FOR: dict[str, tuple[str, ...]] = {}
NATIVE: tuple[str, ...] = ()
REFUSES: dict[str, str] = {}
OPTIONS: dict[str, Values] = {}
PRESETS = (
    (Recipe("litert"), "LiteRT (TensorFlow Lite), fp32."),
    *compressed.presets("litert", "LiteRT", "pruned50-structured", "distilled"),
)


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    path = folder / FILES[0]
    module = program.module()
    remedy = "Look at the end of the build's log; the operator it names may not be supported by LiteRT."
    with Boundary(RecipeError, "litert-torch does not convert the program", remedy):
        import litert_torch

        litert_torch.convert(module, program.tensors()).export(str(path))
    wide = [spec.name for spec in program.spec.inputs if spec.dtype == "int64"]
    return Built((f"LiteRT takes int64 inputs as int32: {', '.join(wide)}.",) if wide else ())
