"""ONNX Runtime: exported by PyTorch's dynamo exporter into one file, in fp32 or in static int8 (QDQ)."""

from __future__ import annotations

import shutil
from pathlib import Path

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes.built import Built
from farm.types import ModelFormat, Recipe

FILE = "model.onnx"
VERSION = 1
TOOLS = ("torch", "onnx", "onnxscript", "onnxruntime")
EXTRA = "onnxruntime"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT, ModelFormat.ONNX)
QUANTIZES = True
OPTIONS: dict[str, tuple[str, ...]] = {}


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    path = folder / FILE
    if not recipe.transforms:
        _export(program, path)
        return Built(path)

    from farm.recipes.transforms import qdq

    floating = folder / "float.onnx"
    _export(program, floating)
    calibration, note = program.calibration_samples()
    notes = qdq.quantize(floating, path, calibration)
    return Built(path, (note, *notes))


def _export(program: Program, path: Path) -> None:
    if program.spec.format == ModelFormat.ONNX:
        shutil.copyfile(program.onnx(), path)
        return
    import torch

    exported = program.exported()
    remedy = "Look at the end of the build's log; the operator it names may have no ONNX translation."
    with Boundary(RecipeError, "torch.onnx.export failed", remedy):
        torch.onnx.export(exported, program.tensors(), str(path), dynamo=True, external_data=False)
