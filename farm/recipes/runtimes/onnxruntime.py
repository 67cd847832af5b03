"""ONNX Runtime: exported by PyTorch's dynamo exporter into one file; its own tools make fp16, int8 and int4 of it.

The execution provider is an option: the file is the same for all, the device's harness demands the provider.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

from farm.errors import RecipeError, RecipeSpecError
from farm.recipes import operators
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes import compressed
from farm.recipes.runtimes.built import Built, Values
from farm.types import Cast, Delegation, ModelFormat, Quantize, Recipe, Transform

FILES = ("model.onnx",)
VERSION = 2
TOOLS = ("torch", "onnx", "onnxscript", "onnxruntime")
EXTRA = "onnxruntime"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT, ModelFormat.ONNX)
# No packages of providers: the device needs them, and no build does.
TOOLS_FOR: dict[str, tuple[str, ...]] = {}
NATIVE: tuple[str, ...] = ("fp16", "int8-static", "int8-dynamic", "int8-weight-only", "int4-weight-only")
REFUSES: dict[str, str] = {
    "bf16": "its CPU has no bfloat16 kernels (MatMul, Conv, Add and Relu were tried)",
    "int4-static": "its tools quantize activations to 8 bits or more",
    "int4-dynamic": "its tools quantize activations to 8 bits or more",
}
# Not QNN, whose provider is a plug-in that compiles ahead of time: the runtime onnxruntime-qnn.
OPTIONS: dict[str, Values] = {"provider": ("cpu", "cuda", "tensorrt", "nnapi", "coreml")}
PRESETS = (
    (Recipe("onnxruntime"), "ONNX Runtime, fp32."),
    (Recipe("onnxruntime", transforms=(Cast(),)), "ONNX Runtime, fp16."),
    (Recipe("onnxruntime", name="onnxruntime-int8", transforms=(Quantize(),)), "ONNX Runtime, static int8 (QDQ)."),
    (
        Recipe("onnxruntime", transforms=(Quantize(mode="dynamic"),)),
        "ONNX Runtime, dynamic int8: for transformers, slow for convolutions.",
    ),
    (
        Recipe("onnxruntime", transforms=(Quantize(mode="weight-only"),)),
        "ONNX Runtime, weights of linear layers in int8.",
    ),
    (
        Recipe("onnxruntime", transforms=(Quantize(dtype="int4", mode="weight-only"),)),
        "ONNX Runtime, weights of linear layers in int4.",
    ),
    (
        Recipe("onnxruntime", options={"provider": "cuda"}),
        "ONNX Runtime on CUDA, fp32; the device needs onnxruntime-gpu and an NVIDIA GPU.",
    ),
    (
        Recipe("onnxruntime", options={"provider": "tensorrt"}),
        "ONNX Runtime on TensorRT, fp32; the device needs onnxruntime-gpu, TensorRT and an NVIDIA GPU.",
    ),
    (
        Recipe("onnxruntime", options={"provider": "nnapi"}),
        "ONNX Runtime on NNAPI, fp32; the device needs Android and a build of ONNX Runtime with NNAPI.",
    ),
    (
        Recipe("onnxruntime", options={"provider": "coreml"}),
        "ONNX Runtime on Core ML, fp32; the device needs macOS or iOS.",
    ),
    *compressed.presets("onnxruntime", "ONNX Runtime", "pruned50", "pruned50-structured", "palettized4", "distilled"),
    *compressed.presets("onnxruntime", "ONNX Runtime", "distilled-int8"),
)


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    path = folder / FILES[0]
    if not recipe.transforms:
        export(program, path)
        notes: tuple[str, ...] = ()
    elif program.spec.operators_for("onnxruntime"):
        raise RecipeError(
            "ONNX Runtime's quantization tools run the model by themselves, and take no custom operators for that.",
            remedy="Measure it as it is, or quantize it before the upload.",
        )
    elif len(recipe.transforms) > 1:
        both = " and ".join(transform.label for transform in recipe.transforms)
        raise RecipeSpecError(
            f"Recipe {recipe.name!r}: ONNX Runtime's tools do not make {both} of one model.", remedy="Use one of them."
        )
    else:
        floating = folder / "float.onnx"
        export(program, floating)
        notes = _transform(program, recipe.transforms[0], floating, path)
    delegation = _delegation(program, path)
    if recipe.options["provider"] == "cpu":
        return Built(notes, delegation)
    seen = f"Which operators the provider {recipe.options['provider']} takes shows on the device; it must take some."
    return Built((*notes, seen))


def export(program: Program, path: Path) -> None:
    if program.spec.format == ModelFormat.ONNX:
        shutil.copyfile(program.onnx(), path)
        return
    import torch

    exported = program.exported()
    remedy = "Look at the end of the build's log; the operator it names may have no ONNX translation."
    with Boundary(RecipeError, "torch.onnx.export failed", remedy):
        torch.onnx.export(
            exported,
            program.tensors(),
            str(path),
            dynamo=True,
            external_data=False,
            custom_translation_table=operators.onnx_translations(program.operators),
        )


def _transform(program: Program, transform: Transform, floating: Path, path: Path) -> tuple[str, ...]:
    from farm.recipes.transforms import onnx_weights, qdq

    match transform:
        case Cast():
            return onnx_weights.half(floating, path)
        case Quantize(mode="static"):
            calibration, note = program.calibration_samples()
            return (note, *qdq.quantize(floating, path, calibration))
        case Quantize(mode="dynamic"):
            return onnx_weights.dynamic(floating, path)
        case Quantize(mode="weight-only"):
            return onnx_weights.weight_only(floating, path, {"int8": 8, "int4": 4}[transform.dtype])
    raise RecipeSpecError(f"ONNX Runtime's tools do not make {transform.label}.", remedy="Report this bug.")


def _delegation(program: Program, path: Path) -> Delegation:
    """Load what was built, as a device will, and count its operators by the provider that takes them."""
    with Boundary(RecipeError, "ONNX Runtime does not load what was built", "Look at the end of the build's log."):
        session = program.session(path, {"session.record_ep_graph_assignment_info": "1"})
        taken: Counter[str] = Counter()
        for part in session.get_provider_graph_assignment_info():
            taken[part.ep_name] += len(part.get_nodes())
    return Delegation(operators=dict(taken))
