"""LiteRT (TensorFlow Lite): converted by litert-torch; ai-edge-quantizer makes fp16, int8 and int4 of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from farm.errors import RecipeError, RecipeSpecError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes import compressed
from farm.recipes.runtimes.built import Built, Values
from farm.types import Cast, Delegation, ModelFormat, Quantize, Recipe, Transform

FILES = ("model.tflite",)
VERSION = 2
TOOLS = ("torch", "litert-torch", "ai-edge-litert")
EXTRA = "litert"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT)
NATIVE: tuple[str, ...] = (
    *("fp16", "int8-static", "int8-dynamic", "int8-weight-only"),
    *("int4-dynamic", "int4-weight-only"),
)
TOOLS_FOR: dict[str, tuple[str, ...]] = dict.fromkeys(NATIVE, ("ai-edge-quantizer",))
REFUSES: dict[str, str] = {
    "bf16": "neither its CPU kernels nor its quantizer know bfloat16",
    "int4-static": "its quantizer has no static int4 for most operators",
    "dynamic-batch": "litert-torch does not lower programs whose sizes are symbols",
}
OPTIONS: dict[str, Values] = {}
PRESETS = (
    (Recipe("litert"), "LiteRT (TensorFlow Lite), fp32."),
    (Recipe("litert", transforms=(Cast(),)), "LiteRT, weights in fp16."),
    (Recipe("litert", name="litert-int8", transforms=(Quantize(),)), "LiteRT, static int8."),
    (Recipe("litert", transforms=(Quantize(mode="dynamic"),)), "LiteRT, dynamic int8."),
    (Recipe("litert", transforms=(Quantize(mode="weight-only"),)), "LiteRT, weights in int8."),
    (Recipe("litert", transforms=(Quantize(dtype="int4", mode="weight-only"),)), "LiteRT, weights in int4."),
    *compressed.presets("litert", "LiteRT", "pruned50-structured", "distilled"),
)


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    path = folder / FILES[0]
    wide = [spec.name for spec in program.spec.inputs if spec.dtype == "int64"]
    notes: tuple[str, ...] = (f"LiteRT takes int64 inputs as int32: {', '.join(wide)}.",) if wide else ()
    if not recipe.transforms:
        _convert(program, path)
    elif len(recipe.transforms) > 1:
        both = " and ".join(transform.label for transform in recipe.transforms)
        raise RecipeSpecError(
            f"Recipe {recipe.name!r}: LiteRT's tools do not make {both} of one model.", remedy="Use one of them."
        )
    else:
        floating = folder / "float.tflite"
        _convert(program, floating)
        notes += _transform(program, recipe.transforms[0], floating, path)
    return Built(notes, _delegation(path))


def _convert(program: Program, path: Path) -> None:
    module = program.module()
    remedy = "Look at the end of the build's log; the operator it names may not be supported by LiteRT."
    with Boundary(RecipeError, "litert-torch does not convert the program", remedy):
        import litert_torch

        litert_torch.convert(module, program.tensors()).export(str(path))


def _transform(program: Program, transform: Transform, floating: Path, path: Path) -> tuple[str, ...]:
    from farm.recipes.transforms import ai_edge

    match transform:
        case Quantize(mode="static"):
            calibration, note = program.calibration_samples()
            return (note, *ai_edge.transform(floating, path, transform, calibration))
        case Cast() | Quantize():
            return ai_edge.transform(floating, path, transform, ())
    raise RecipeSpecError(f"LiteRT's tools do not make {transform.label}.", remedy="Report this bug.")


def _delegation(path: Path) -> Delegation:
    """Load what was built, as a device will, and see what the XNNPACK delegate of this host takes of it."""
    with Boundary(RecipeError, "LiteRT does not load what was built", "Look at the end of the build's log."):
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
        operators = interpreter._get_ops_details()
    taken = _taken(operators)
    left = Counter(
        operator["op_name"]
        for operator in operators
        if operator["op_name"] != "DELEGATE" and operator["index"] not in taken
    )
    return Delegation(operators={"XNNPACK": len(taken)}, left_over=dict(left))


def _taken(operators: list[dict[str, Any]]) -> set[int]:
    """Indices of the operators inside delegates. The interpreter lists all operators and after them the delegates,
    which have the inputs and outputs of what they took: it is what leads from these back to those."""
    maker = {
        index: operator for operator in operators if operator["op_name"] != "DELEGATE" for index in operator["outputs"]
    }
    taken: set[int] = set()
    for delegate in (operator for operator in operators if operator["op_name"] == "DELEGATE"):
        outside, open_ends = set(delegate["inputs"]), list(delegate["outputs"])
        while open_ends:
            operator = maker.get(open_ends.pop())
            if operator is not None and operator["index"] not in taken:
                taken.add(operator["index"])
                open_ends += [index for index in operator["inputs"] if index not in outside]
    return taken
