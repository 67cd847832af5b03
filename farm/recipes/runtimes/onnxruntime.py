"""ONNX Runtime: exported by PyTorch's dynamo exporter into one file, in fp32 or in static int8 (QDQ)."""

from __future__ import annotations

import shutil
from pathlib import Path

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes.built import Built, Values
from farm.types import ModelFormat, Quantize, Recipe

FILES = ("model.onnx",)
VERSION = 1
TOOLS = ("torch", "onnx", "onnxscript", "onnxruntime")
EXTRA = "onnxruntime"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT, ModelFormat.ONNX)
TOOLS_FOR: dict[str, tuple[str, ...]] = {}
NATIVE: tuple[str, ...] = ("int8-static",)
REFUSES: dict[str, str] = {}
OPTIONS: dict[str, Values] = {}
PRESETS = (
    (Recipe("onnxruntime"), "ONNX Runtime, fp32."),
    (Recipe("onnxruntime", name="onnxruntime-int8", transforms=(Quantize(),)), "ONNX Runtime, static int8 (QDQ)."),
)


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    path = folder / FILES[0]
    if not recipe.transforms:
        export(program, path)
        return Built()

    from farm.recipes.transforms import qdq

    floating = folder / "float.onnx"
    export(program, floating)
    calibration, note = program.calibration_samples()
    notes = qdq.quantize(floating, path, calibration)
    return Built((note, *notes))


def export(program: Program, path: Path) -> None:
    if program.spec.format == ModelFormat.ONNX:
        shutil.copyfile(program.onnx(), path)
        return
    import torch

    exported = program.exported()
    remedy = "Look at the end of the build's log; the operator it names may have no ONNX translation."
    with Boundary(RecipeError, "torch.onnx.export failed", remedy):
        torch.onnx.export(exported, program.tensors(), str(path), dynamo=True, external_data=False)
