"""TensorRT: an engine built from ONNX, on a machine with an NVIDIA GPU.

Networks are strongly typed (all there is since TensorRT 11): what is computed in stands in the ONNX file. So float16
is converted there, and int8 is quantize and dequantize nodes, symmetric as TensorRT wants them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes import onnxruntime, signature
from farm.recipes.runtimes.built import Built, Values
from farm.recipes.samples import Sample
from farm.types import Cast, ModelFormat, Quantize, Recipe, TensorSpec

FILES = ("model.engine", signature.FILE)
VERSION = 1
TOOLS = ("torch", "onnx", "onnxscript", "onnxruntime", "tensorrt")
NEEDS_GPU = True
EXTRA = "tensorrt"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT, ModelFormat.ONNX)
TOOLS_FOR: dict[str, tuple[str, ...]] = {}
NATIVE: tuple[str, ...] = ("fp16", "int8-static")
REFUSES: dict[str, str] = {
    "int8-dynamic": "TensorRT takes the ranges of activations from calibration: use static",
    "int8-weight-only": "TensorRT computes in int8 wherever weights are quantized: use static",
    **dict.fromkeys(("int4-static", "int4-dynamic", "int4-weight-only"), "the farm makes int8 for TensorRT, static"),
    "channels-last": "TensorRT chooses the layout itself",
}
# tf32: matrix products of fp32 engines with 10 bits of mantissa. compatibility: the engine runs on GPUs like the one
# that it was built on, or (slower) on every GPU since Ampere.
OPTIONS: dict[str, Values] = {"tf32": (False, True), "compatibility": ("same-gpu", "ampere-plus")}
PRESETS = (
    (Recipe("tensorrt", name="tensorrt"), "TensorRT, fp32 (TF32 off). Needs an NVIDIA GPU to build and to run."),
    (
        Recipe("tensorrt", name="tensorrt-fp16", transforms=(Cast(),)),
        "TensorRT, fp16. Needs an NVIDIA GPU to build and to run.",
    ),
    (
        Recipe("tensorrt", name="tensorrt-int8", transforms=(Quantize(),)),
        "TensorRT, static int8. Needs an NVIDIA GPU to build and to run.",
    ),
)

_REMEDY = "Look at the end of the build's log; the operator it names may not be supported by TensorRT."
_NEEDS = "TensorRT needs the tensorrt package and an NVIDIA GPU where it builds"
_JOIN = "Have a machine with both join the cluster: `farm agent --build-slots 1` (docs/cluster.md)."


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    with Boundary(RecipeError, _NEEDS, _JOIN):
        import tensorrt
    notes = write_onnx(program, recipe, folder / "network.onnx")
    engine, names = _engine(tensorrt, folder / "network.onnx", recipe, program.spec.inputs)
    (folder / FILES[0]).write_bytes(engine)
    signature.write(folder, inputs=signature.named(program.spec.inputs, names[0]), outputs=names[1], settings={})
    return Built((*notes, f"The engine is for TensorRT {tensorrt.__version__}, {recipe.options['compatibility']}."))


def write_onnx(program: Program, recipe: Recipe, path: Path) -> tuple[str, ...]:
    """The network that TensorRT is to build, with the types it shall compute in. Returns notes."""
    onnxruntime.export(program, path)
    notes: tuple[str, ...] = ()
    for transform in recipe.transforms:
        if isinstance(transform, Cast):
            _halve(path)
        else:
            calibration, note = program.calibration_samples()
            _quantize(path, calibration)
            notes = (note,)
    return notes


def _halve(path: Path) -> None:
    with Boundary(RecipeError, "Converting the ONNX file to float16 failed", _REMEDY):
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16

        onnx.save(convert_float_to_float16(onnx.load(str(path)), keep_io_types=True), str(path))


def _quantize(path: Path, calibration: Sequence[Sample]) -> None:
    with Boundary(RecipeError, "Quantization (ONNX Runtime) failed", "Use tensorrt-fp16 for this model."):
        import onnx
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        prepared = path.with_name("prepared.onnx")
        quant_pre_process(str(path), str(prepared))
        graph = onnx.load(str(prepared)).graph
        weights = {tensor.name for tensor in graph.initializer}
        names = [each.name for each in graph.input if each.name not in weights]

        class Feeds(CalibrationDataReader):  # type: ignore[misc]
            def __init__(self) -> None:
                self._rest = iter(calibration)

            def get_next(self) -> dict[str, Any] | None:
                sample = next(self._rest, None)
                return None if sample is None else dict(zip(names, sample, strict=True))

        quantize_static(
            str(prepared),
            str(path),
            Feeds(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )


def _engine(
    tensorrt: Any, source: Path, recipe: Recipe, inputs: Sequence[TensorSpec]
) -> tuple[bytes, tuple[list[str], list[TensorSpec]]]:
    """The serialized engine, the names of its inputs, and its outputs, in the order of the ONNX file."""
    logger = tensorrt.Logger(tensorrt.Logger.WARNING)  # to the build's log
    with Boundary(RecipeError, _NEEDS, _JOIN):
        builder = tensorrt.Builder(logger)
        config = builder.create_builder_config()
    with Boundary(RecipeError, "TensorRT does not build the engine", _REMEDY):
        network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = tensorrt.OnnxParser(network, logger)
        if not parser.parse_from_file(str(source)):
            reasons = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
            raise RecipeError(f"TensorRT does not take the network: {reasons}", remedy=_REMEDY)
        if not recipe.options["tf32"]:
            config.clear_flag(tensorrt.BuilderFlag.TF32)
        if recipe.options["compatibility"] == "ampere-plus":
            config.hardware_compatibility_level = tensorrt.HardwareCompatibilityLevel.AMPERE_PLUS
        names = [network.get_input(index).name for index in range(network.num_inputs)]
        profile = builder.create_optimization_profile()
        for name, spec in zip(names, inputs, strict=True):
            profile.set_shape(name, *[spec.shape] * 3)  # the least, the usual, the largest
        config.add_optimization_profile(profile)
        engine = builder.build_serialized_network(network, config)
        if engine is None:
            raise RecipeError("TensorRT does not build the engine.", remedy=_REMEDY)
        outputs = [network.get_output(index) for index in range(network.num_outputs)]
        described = [
            TensorSpec(name=each.name, shape=tuple(each.shape), dtype=_dtype(tensorrt, each.dtype)) for each in outputs
        ]
    return bytes(engine), (names, described)


def _dtype(tensorrt: Any, dtype: Any) -> Any:
    import numpy as np

    return np.dtype(tensorrt.nptype(dtype)).name
