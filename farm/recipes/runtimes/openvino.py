"""OpenVINO: its own conversion of the PyTorch program (or an uploaded ONNX file), quantized by NNCF.

What is computed in travels in the model file (section ``farm`` of its rt_info), since the device decides otherwise:
left alone, OpenVINO takes bfloat16 where a CPU has it, and quantizes activations wherever weights are compressed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes.built import Built, Values
from farm.recipes.samples import Sample
from farm.recipes.transforms.attention import AS_TRANSFORMER, openvino_attends
from farm.types import Cast, Delegation, ModelFormat, Quantize, Recipe, Transform

FILES = ("model.xml", "model.bin")
VERSION = 2
TOOLS = ("torch", "openvino")
EXTRA = "openvino"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT, ModelFormat.ONNX)
_WEIGHTS_SMALL = ("int8-weight-only", "int8-dynamic", "int4-weight-only", "int4-dynamic")
TOOLS_FOR: dict[str, tuple[str, ...]] = dict.fromkeys(("int8-static", *_WEIGHTS_SMALL), ("nncf",))
NATIVE: tuple[str, ...] = ("fp16", "bf16", "int8-static", *_WEIGHTS_SMALL)
REFUSES: dict[str, str] = {
    "int4-static": "NNCF quantizes activations to 8 bits at the least",
    "channels-last": "OpenVINO chooses the layout itself",
}
OPTIONS: dict[str, Values] = {"device": ("cpu", "gpu", "npu")}
PRESETS = (
    (Recipe("openvino", name="openvino"), "OpenVINO, fp32."),
    (Recipe("openvino", name="openvino-fp16", transforms=(Cast(),)), "OpenVINO, weights in fp16."),
    (
        Recipe("openvino", name="openvino-bf16", transforms=(Cast(dtype="bfloat16"),)),
        "OpenVINO computing in bf16 (CPUs with AMX or AVX512-BF16).",
    ),
    (Recipe("openvino", name="openvino-int8", transforms=(Quantize(),)), "OpenVINO, static int8 (NNCF)."),
    (
        Recipe("openvino", name="openvino-int8-weight-only", transforms=(Quantize(mode="weight-only"),)),
        "OpenVINO, weights in int8 (NNCF), computed with in fp32.",
    ),
    (
        Recipe("openvino", name="openvino-int8-dynamic", transforms=(Quantize(mode="dynamic"),)),
        "OpenVINO, weights in int8, activations of linear layers quantized as they come.",
    ),
)

_REMEDY = "Look at the end of the build's log; the operator it names may not be supported by OpenVINO."
_DYNAMIC_GROUP = 32  # activations that share a scale; OpenVINO's own default


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    _decline_telemetry()
    import openvino

    notes: list[str] = []
    model = _converted(program)
    precision, group = "f32", 0
    for transform in recipe.transforms:
        if isinstance(transform, Cast):
            precision, said = {"float16": ("f16", _HALF), "bfloat16": ("bf16", _BFLOAT)}[transform.dtype]
            notes.append(said)
        else:
            model, said_more = _quantized(model, transform, program)
            notes += said_more
            group = _DYNAMIC_GROUP if transform.label.endswith("-dynamic") else 0
    model.set_rt_info(precision, ["farm", "precision"])
    model.set_rt_info(str(group), ["farm", "dynamic_quantization_group_size"])
    with Boundary(RecipeError, "OpenVINO cannot save the model", _REMEDY):
        openvino.save_model(model, str(folder / FILES[0]), compress_to_fp16=precision == "f16")
    if recipe.options["device"] != "cpu":
        return Built((*notes, "How many operators the device takes is known once it has compiled the model."))
    return Built(tuple(notes), _executed(folder / FILES[0], precision, group))


_HALF = "Weights are stored in float16; devices without float16 arithmetic (most x86 CPUs) compute in float32."
_BFLOAT = "Weights are stored in float32 and computed with in bfloat16."


def _decline_telemetry() -> None:
    """OpenVINO and NNCF report to their maker unless this file says no. The home is the build's own folder."""
    answer = Path.home() / "intel" / "openvino_telemetry"
    answer.parent.mkdir(exist_ok=True)
    answer.write_text("0")


def _converted(program: Program) -> Any:
    import openvino

    if program.spec.format == ModelFormat.ONNX:
        source, example = str(program.onnx()), None
    elif program.spec.format == ModelFormat.TORCHSCRIPT:
        source, example = program.script(), program.tensors()
    else:
        source, example = program.exported(), None
    with Boundary(RecipeError, "OpenVINO does not convert the program", _REMEDY):
        model = openvino.convert_model(source, example_input=example)
        model.reshape({position: _shape(program, source, position) for position in range(len(model.inputs))})
        model.validate_nodes_and_infer_types()
    return model


def _shape(program: Program, source: Any, position: int) -> list[int]:
    """As in the example, but what the program takes in any size stays so (-1): conversion loses the fixed ones."""
    given = list(program.spec.inputs[position].shape)
    if program.spec.format != ModelFormat.PT2:
        return given
    name = source.graph_signature.user_inputs[position]
    taken = next(node.meta["val"].shape for node in source.graph.nodes if node.name == name)
    return [size if isinstance(free, int) else -1 for size, free in zip(given, taken, strict=True)]


def _quantized(model: Any, transform: Transform, program: Program) -> tuple[Any, list[str]]:
    import nncf

    with Boundary(RecipeError, "Quantization (NNCF) failed", "Use the fp32 recipe if the model cannot be quantized."):
        if transform.label == "int8-static":
            calibration, note = program.calibration_samples()
            return _calibrated(model, calibration, note)
        if transform.label.startswith("int4"):
            # Per channel: groups would have to divide the channels of every layer.
            mode, more = nncf.CompressWeightsMode.INT4_SYM, {"group_size": -1, "all_layers": True}
        else:
            mode, more = nncf.CompressWeightsMode.INT8_ASYM, {}
        return nncf.compress_weights(model, mode=mode, **more), []


def _calibrated(model: Any, calibration: Sequence[Sample], note: str) -> tuple[Any, list[str]]:
    import nncf

    attends = openvino_attends(model)
    kind = nncf.ModelType.TRANSFORMER if attends else None
    quantized = nncf.quantize(
        model,
        nncf.Dataset(calibration, list),
        subset_size=len(calibration),
        model_type=kind,
        fast_bias_correction=False,  # twice as long, and efficientnet-lite0 has a cosine of 0.990 instead of 0.986
    )
    return quantized, [note, *([AS_TRANSFORMER] if attends else [])]


def _executed(path: Path, precision: str, group: int) -> Delegation:
    """What this machine's CPU runs the model with: optimized kernels by precision, and slow reference ones."""
    import openvino

    core = openvino.Core()
    hint = precision if precision != "f16" or "FP16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
    settings = {"INFERENCE_PRECISION_HINT": hint, "DYNAMIC_QUANTIZATION_GROUP_SIZE": group}
    remedy = "OpenVINO converted the program to something that it cannot run: use another runtime."
    with Boundary(RecipeError, "OpenVINO does not compile the converted model", remedy):
        compiled = core.compile_model(str(path), "CPU", settings)
        nodes = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
        facts = [(node["layerType"].astype(str), node["primitiveType"].astype(str)) for node in nodes]
    run = [fact for fact in facts if fact[0] not in ("Input", "Output", "Const")]
    slow = Counter(kind for kind, kernel in run if kernel.startswith("ref"))
    fast = Counter(f"CPU {kernel.rpartition('_')[2]}" for _, kernel in run if not kernel.startswith("ref"))
    return Delegation(operators=dict(fast), left_over=dict(slow))
