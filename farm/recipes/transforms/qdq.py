"""Static int8 for ONNX Runtime: its own quantizer (QDQ format, weights per channel), with corrected biases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.samples import Sample
from farm.recipes.transforms import bias, onnx_layers, onnx_weights

_REMEDY = "Look at the end of the build's log; use the fp32 recipe if the model cannot be quantized."


def quantize(source: Path, destination: Path, calibration: Sequence[Sample]) -> tuple[str, ...]:
    """Quantize an fp32 ONNX file with samples in the order of its inputs. Returns notes. Raises RecipeError."""
    with Boundary(RecipeError, "Quantization (ONNX Runtime) failed", _REMEDY):
        prepared = onnx_weights.prepare(source)
        feeds = _feeds(prepared, calibration)
        _quantize(prepared, destination, feeds)
        corrected = _correct_biases(prepared, destination, feeds)
        if corrected:
            _quantize(prepared, destination, feeds)
    covered = "convolutions, matrix products and embeddings with constant weights"
    return (f"Bias corrected in {corrected} layers.", *onnx_layers.quantized(destination, "int8-static", covered))


def _feeds(path: Path, calibration: Sequence[Sample]) -> list[dict[str, Any]]:
    import onnx

    graph = onnx.load(str(path)).graph
    weights = {tensor.name for tensor in graph.initializer}
    names = [value.name for value in graph.input if value.name not in weights]
    return [dict(zip(names, sample, strict=True)) for sample in calibration]


def _quantize(source: Path, destination: Path, feeds: Sequence[dict[str, Any]]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Feeds(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest = iter(feeds)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._rest, None)

    quantize_static(str(source), str(destination), Feeds(), quant_format=QuantFormat.QDQ, per_channel=True)


def _correct_biases(floating: Path, quantized: Path, feeds: Sequence[dict[str, Any]]) -> int:
    """Correct the biases in the fp32 file from what quantization did to its weights. Returns how many."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(floating))
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    rounded = {tensor.name: tensor for tensor in onnx.load(str(quantized)).graph.initializer}
    uses = Counter(name for node in model.graph.node for name in node.input)
    correctable = (node for node in model.graph.node if _is_correctable(node, weights, rounded))
    layers = [node for node in correctable if len(node.input) < 3 or uses[node.input[2]] == 1]
    means = _input_means(model, [node.input[0] for node in layers], feeds)
    for node in layers:
        weight = numpy_helper.to_array(weights[node.input[1]])
        scale, zero, values = (
            numpy_helper.to_array(rounded[f"{node.input[1]}_{part}"]) for part in ("scale", "zero_point", "quantized")
        )
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        turned = node.op_type == "Gemm" and not attributes.get("transB", 0)
        axis = 1 if turned else 0
        shape = [-1 if dimension == axis else 1 for dimension in range(weight.ndim)] if scale.ndim else []
        restored = (values.astype(float) - zero.reshape(shape)) * scale.reshape(shape)
        pair = (weight.T, restored.T) if turned else (weight, restored)
        correction = bias.shift(*pair, means[node.input[0]], attributes.get("group", 1))
        if len(node.input) > 2:
            correction += numpy_helper.to_array(weights[node.input[2]])
            model.graph.initializer.remove(weights[node.input[2]])
        name = f"{node.output[0]}_corrected_bias"
        node.input[2:] = [name]
        model.graph.initializer.append(numpy_helper.from_array(correction.astype(weight.dtype), name))
    onnx.save(model, str(floating))
    return len(layers)


def _is_correctable(node: Any, weights: dict[str, Any], rounded: dict[str, Any]) -> bool:
    """Convolutions and plain Gemm layers with a quantized weight, and a constant bias if any."""
    if node.op_type not in ("Conv", "Gemm") or not all(name in weights for name in node.input[1:3]):
        return False
    scaled = any(attribute.name in ("alpha", "beta") and attribute.f != 1.0 for attribute in node.attribute)
    turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    known = all(f"{node.input[1]}_{part}" in rounded for part in ("scale", "zero_point", "quantized"))
    return known and not scaled and not turned and all(len(weights[name].dims) == 1 for name in node.input[2:3])


def _input_means(model: Any, names: Sequence[str], feeds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean per channel of each named tensor over the calibration inputs."""
    import onnx
    import onnxruntime

    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    inputs = {value.name for value in model.graph.input}
    wanted = list(dict.fromkeys(name for name in names if name not in inputs))
    del seen.graph.output[:]
    seen.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # keep tensors apart
    session = None
    if wanted:
        content = seen.SerializeToString()
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    means: dict[str, Any] = {}
    for feed in feeds:
        values = {name: feed[name] for name in set(names) & inputs}
        if session is not None:
            values.update(zip(wanted, session.run(wanted, feed), strict=True))
        for name, value in values.items():
            means[name] = means.get(name, 0.0) + bias.channel_mean(value, 1) / len(feeds)
    return means
