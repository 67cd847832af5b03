"""Which layers of an ONNX graph hold quantized weights. Quantizers that find nothing to do succeed all the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farm.errors import RecipeError

# Operators with weights, and the position of these among their inputs.
_WEIGHTS = dict.fromkeys(("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"), 1) | {"Gather": 0}
# What quantizers put in their place (operators of ONNX and of ONNX Runtime).
_WEIGHTS |= dict.fromkeys(("ConvInteger", "MatMulInteger", "DynamicQuantizeLSTM", "MatMulNBits"), 1)


@dataclass(frozen=True)
class Layers:
    """Operator types with counts, by what their weights are."""

    quantized: Counter[str] = field(default_factory=Counter)
    floating: Counter[str] = field(default_factory=Counter)

    def notes(self) -> tuple[str, ...]:
        left = f"Left in floating point: {listed(self.floating)}."
        return (f"Quantized: {listed(self.quantized)}.", *((left,) if self.floating else ()))


def quantized(path: Path, what: str, covers: str) -> tuple[str, ...]:
    """Notes on what ``what`` did to the layers of the file. Raises RecipeError where it did nothing.

    ``covers``: the layers that it can quantize, for the error.
    """
    import onnx

    layers = count(onnx.load(str(path)))
    if not layers.quantized:
        has = listed(layers.floating) or "no layers with constant weights"
        raise RecipeError(
            f"{what} quantized nothing: ONNX Runtime's tool covers {covers}, and the model has {has}.",
            remedy="Use another recipe: this one would only be the fp32 model under another name.",
        )
    return layers.notes()


def count(model: Any) -> Layers:
    """Of the main graph of an ``onnx.ModelProto``; layers whose weights are computed do not count."""
    from onnx import TensorProto

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    stored = {  # constants behind a DequantizeLinear, by the name of what comes out of it
        node.output[0]: constants[node.input[0]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in constants
    }
    floating = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
    small = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4)
    layers = Layers()
    for node in model.graph.node:
        position = _WEIGHTS.get(node.op_type)
        if position is None or len(node.input) <= position:
            continue
        name = node.input[position]
        weight = stored.get(name) or constants.get(name)
        if weight is None or len(weight.dims) < 2:
            continue
        if weight.data_type in small:
            layers.quantized[node.op_type] += 1
        elif weight.data_type in floating:
            layers.floating[node.op_type] += 1
    return layers


def listed(counts: Counter[str]) -> str:
    return ", ".join(f"{number} x {name}" for name, number in counts.most_common())
