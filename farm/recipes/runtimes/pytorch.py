"""PyTorch: the exported program itself, cleaned, without sample inputs; run eagerly or compiled on the device."""

from __future__ import annotations

from pathlib import Path

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes import compressed
from farm.recipes.runtimes.built import Built, Values
from farm.types import Cast, ChannelsLast, ModelFormat, Quantize, Recipe

FILES = ("model.pt2",)
VERSION = 1
TOOLS = ("torch",)
EXTRA = "torch"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT)
TOOLS_FOR: dict[str, tuple[str, ...]] = {"int8-static": ("torchao",)}
NATIVE: tuple[str, ...] = ("int8-static",)
REFUSES: dict[str, str] = {
    "int8-static mode=eager": "TorchInductor makes the int8 kernels; eagerly it would only be imitated in floating "
    "point, slower than fp32; take mode=compile or aotinductor"
}
OPTIONS: dict[str, Values] = {"mode": ("eager", "compile")}
_COMPILE: dict[str, str | int | float | bool] = {"mode": "compile"}
_WEIGHT_ONLY = Quantize(mode="weight-only")
PRESETS = (
    (Recipe("pytorch"), "Eager PyTorch: the baseline."),
    (Recipe("pytorch", transforms=(ChannelsLast(),)), "Eager PyTorch, channels-last."),
    (Recipe("pytorch", transforms=(Cast(dtype="bfloat16"),)), "Eager PyTorch, bf16."),
    (Recipe("pytorch", transforms=(Cast(),)), "Eager PyTorch, fp16."),
    (Recipe("pytorch", transforms=(Quantize(mode="dynamic"),)), "Eager PyTorch, dynamic int8 linear layers."),
    (Recipe("pytorch", transforms=(_WEIGHT_ONLY,)), "Eager PyTorch, int8 weights of linear layers."),
    (Recipe("pytorch", options=_COMPILE), "torch.compile on the device, fp32; needs a C++ compiler there."),
    (
        Recipe("pytorch", name="pytorch-compile-int8", options=_COMPILE, transforms=(Quantize(),)),
        "torch.compile on the device, static int8 (PT2E with Inductor's quantizer for x86).",
    ),
    *compressed.presets("pytorch", "Eager PyTorch", "pruned50", "pruned50-structured", "palettized4", "distilled"),
)


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    import torch

    notes: tuple[str, ...] = ()
    exported = program.exported()
    if recipe.transforms:
        from farm.recipes.transforms import eager_int

        quantized = eager_int.static(program)
        exported, notes = quantized.program, quantized.notes
    exported.example_inputs = None
    path = folder / FILES[0]
    with Boundary(RecipeError, "torch.export.save failed", "Look at the end of the build's log."):
        torch.export.save(exported, str(path))
    return Built(notes)
