"""Corrects the biases of a LiteRT file in static int8 for what rounding its weights did (see ``bias``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.recipes.samples import Sample
from farm.recipes.transforms import bias

# How the weights of a layer lie, as a permutation to [outputs, inputs / groups, ...]. The channels of what it takes
# come last.
_TURNS = {"CONV_2D": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2), "FULLY_CONNECTED": (0, 1)}


def correct(floating: Path, quantized: Path, calibration: Sequence[Sample]) -> int:
    """Change the int32 biases of ``quantized`` in place. ``calibration``: samples as ``floating`` takes them, the
    file that it was made from. Returns in how many layers."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
    from ai_edge_litert.tools.flatbuffer_utils import schema_fb

    plain = Interpreter(
        str(floating),
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    rounded = Interpreter(str(quantized), num_threads=1)
    plain.allocate_tensors()
    rounded.allocate_tensors()
    before, after = _layers(plain), _layers(rounded)
    if [layer["op_name"] for layer in before] != [layer["op_name"] for layer in after]:
        return 0  # the quantizer changed the graph: nothing tells which layer became which
    means = _means(plain, [layer["inputs"][0] for layer in before], calibration)
    content = bytearray(quantized.read_bytes())
    model = schema_fb.Model.GetRootAsModel(content, 0)
    graph = model.Subgraphs(0)
    shares = Counter(graph.Tensors(index).Buffer() for index in range(graph.TensorsLength()))
    details = {tensor["index"]: tensor for tensor in rounded.get_tensor_details()}
    uses = Counter(layer["inputs"][2] for layer in after)
    corrected = 0
    for old, new in zip(before, after, strict=True):
        _, weights, target = new["inputs"]
        steps = details[target]["quantization_parameters"]["scales"]
        buffer = graph.Tensors(int(target)).Buffer()
        if max(uses[target], shares[buffer]) > 1 or details[target]["dtype"] != np.int32 or not len(steps):
            continue
        turn, mean = _TURNS[new["op_name"]], means[old["inputs"][0]]
        weight = plain.get_tensor(old["inputs"][1]).transpose(turn)
        restored = _restored(rounded.get_tensor(weights), details[weights]).transpose(turn)
        if len(mean) % weight.shape[1]:
            continue  # a linear layer that takes several dimensions as one
        change = bias.shift(weight, restored, mean, len(mean) // weight.shape[1])
        stored = _stored(content, model.Buffers(buffer))
        stored += np.round(change / steps).astype(np.int32)
        corrected += 1
    quantized.write_bytes(content)
    return corrected


def _layers(interpreter: Any) -> list[dict[str, Any]]:
    """With constant weights and a bias, in the order in which they run."""
    operators = interpreter._get_ops_details()
    made = {index for operator in operators for index in operator["outputs"]}
    made |= {details["index"] for details in interpreter.get_input_details()}
    return [
        operator
        for operator in operators
        if operator["op_name"] in _TURNS
        and len(operator["inputs"]) == 3
        and operator["inputs"][2] >= 0
        and not made & set(operator["inputs"][1:])
    ]


def _stored(content: bytearray, buffer: Any) -> NDArray[np.int32]:
    """The values of a buffer of the file, to be changed in place: inside the flatbuffer or, some, behind it."""
    if buffer.DataLength():
        inside: NDArray[np.int32] = buffer.DataAsNumpy().view(np.int32)
        return inside
    return np.frombuffer(content, np.int32, buffer.Size() // 4, buffer.Offset())


def _means(interpreter: Any, tensors: Sequence[int], calibration: Sequence[Sample]) -> dict[int, NDArray[np.float64]]:
    """Mean of each channel over the calibration samples."""
    sums: dict[int, Any] = dict.fromkeys(tensors, 0.0)
    for sample in calibration:
        for details, array in zip(interpreter.get_input_details(), sample, strict=True):
            interpreter.set_tensor(details["index"], array)
        interpreter.invoke()
        sums = {index: sum_ + bias.channel_mean(interpreter.get_tensor(index), -1) for index, sum_ in sums.items()}
    return {index: sum_ / len(calibration) for index, sum_ in sums.items()}


def _restored(values: NDArray[Any], details: dict[str, Any]) -> NDArray[np.float64]:
    found = details["quantization_parameters"]
    shape = [1] * values.ndim
    if len(found["scales"]) > 1:
        shape[found["quantized_dimension"]] = -1
    scales, zeros = (found[name].reshape(shape) for name in ("scales", "zero_points"))
    restored: NDArray[np.float64] = (values.astype(np.float64) - zeros) * scales
    return restored
