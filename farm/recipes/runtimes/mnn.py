"""MNN, converted from ONNX by the converter of its wheel.

Never import ``MNN.tools``: on import it installs a package with whatever ``pip`` comes first in the PATH and calls
home. The converter itself is the extension module ``_tools``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes import onnxruntime, signature
from farm.recipes.runtimes.built import Built, Values
from farm.types import Cast, ModelFormat, Quantize, Recipe, TensorSpec

FILES = ("model.mnn", signature.FILE)
VERSION = 1
TOOLS = ("torch", "onnx", "onnxscript", "onnxruntime", "MNN")
EXTRA = "mnn"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT, ModelFormat.ONNX)
TOOLS_FOR: dict[str, tuple[str, ...]] = {}
NATIVE: tuple[str, ...] = ("fp16", "int8-weight-only", "int4-weight-only")
REFUSES: dict[str, str] = {
    "bf16": "MNN's converter stores float16 or float32",
    "int8-static": "the quantizer in MNN's wheel calibrates on image files alone, and crashes on arrays",
    **dict.fromkeys(("int8-dynamic", "int4-dynamic"), "whether MNN quantizes activations is up to the CPU (x86: no)"),
    "int4-static": "the quantizer in MNN's wheel calibrates on image files alone, and crashes on arrays",
    "channels-last": "MNN chooses the layout itself",
}
OPTIONS: dict[str, Values] = {}
PRESETS = (
    (Recipe("mnn"), "MNN, fp32."),
    (Recipe("mnn", name="mnn-fp16", transforms=(Cast(),)), "MNN, weights in fp16."),
    (
        Recipe("mnn", name="mnn-int8-weight-only", transforms=(Quantize(mode="weight-only"),)),
        "MNN, weights in int8, computed with in fp32.",
    ),
)

_REMEDY = "Look at the end of the build's log; the operator it names may not be supported by MNN."
_HALF = "Weights are stored in float16; devices without float16 arithmetic (x86 CPUs) compute in float32."


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    source = folder / "source.onnx"
    onnxruntime.export(program, source)
    names = _names(source)
    arguments, settings, notes = [], {"precision": "high", "memory": "normal"}, []
    for transform in recipe.transforms:
        if isinstance(transform, Cast):
            arguments += ["--fp16"]
            settings["precision"] = "low"
            notes.append(_HALF)
        elif isinstance(transform, Quantize):
            arguments += ["--weightQuantBits", transform.dtype.removeprefix("int")]
    _convert(source, folder / FILES[0], arguments)
    inputs = signature.named(program.spec.inputs, names[0])
    outputs = _tried(folder / FILES[0], inputs, names[1], settings)
    signature.write(folder, inputs=inputs, outputs=outputs, settings=settings)
    narrow = [spec.name for spec in inputs if spec.dtype == "int64"]
    return Built((*notes, *([f"MNN takes int64 inputs as int32: {', '.join(narrow)}."] if narrow else [])))


def _names(source: Path) -> tuple[list[str], list[str]]:
    """Of inputs and outputs in their order, which MNN's sessions do not keep."""
    import onnx

    graph = onnx.load(str(source), load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    return [each.name for each in graph.input if each.name not in weights], [each.name for each in graph.output]


def _convert(source: Path, destination: Path, arguments: list[str]) -> None:
    import _tools

    command = ["mnnconvert", "-f", "ONNX", "--modelFile", str(source), "--MNNModel", str(destination)]
    with Boundary(RecipeError, "MNN does not convert the program", _REMEDY):
        done = _tools.mnnconvert([*command, "--bizCode", "torchfarm", *arguments])
    if not done or not destination.exists():
        raise RecipeError("MNN does not convert the program.", remedy=_REMEDY)


def _tried(path: Path, inputs: list[TensorSpec], names: list[str], settings: dict[str, str]) -> list[TensorSpec]:
    """Load and run it once: the converter says "success" also of what the engine cannot run. The outputs it has."""
    import MNN
    import numpy as np

    remedy = "Choose another runtime for this model; MNN converts it to something that it cannot run."
    with Boundary(RecipeError, "MNN does not run the converted model", remedy):
        engine = MNN.Interpreter(str(path))
        session = engine.createSession({"backend": "CPU", "numThread": 1, **settings})
        taken: dict[str, Any] = engine.getSessionInputAll(session)
        for spec in inputs:
            engine.resizeTensor(taken[spec.name], spec.shape)
        engine.resizeSession(session)
        failed = engine.runSession(session)
        given: dict[str, Any] = engine.getSessionOutputAll(session)
        missing = [name for name in names if name not in given]
        if failed or missing:
            what = f"code {failed}, outputs missing: {', '.join(missing) or 'none'}"
            raise RecipeError(f"MNN does not run the converted model ({what}).", remedy=remedy)
        return [
            TensorSpec(name=name, shape=given[name].getShape(), dtype=np.asarray(given[name].getNumpyData()).dtype.name)
            for name in names
        ]
