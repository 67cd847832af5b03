"""What ai-edge-quantizer makes of an fp32 LiteRT file: fp16 and int4 weights, int8 in all three modes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.samples import Sample
from farm.types import Cast, Quantize

# Position of the weights among the inputs of the operators that have them (LiteRT's schema).
_WEIGHTS = {
    "CONV_2D": 1,
    "DEPTHWISE_CONV_2D": 1,
    "TRANSPOSE_CONV": 1,
    "FULLY_CONNECTED": 1,
    "BATCH_MATMUL": 1,
    "EMBEDDING_LOOKUP": 1,
}
_REMEDY = "Look at the end of the build's log; use the fp32 recipe if the model cannot be quantized."


def transform(
    source: Path, destination: Path, wanted: Cast | Quantize, calibration: Sequence[Sample]
) -> tuple[str, ...]:
    """Write ``destination``; inputs and outputs stay as they are. ``calibration`` is for static int8 alone, in the
    order of the model's inputs. Returns notes. Raises RecipeError, also where there was nothing to quantize."""
    with Boundary(RecipeError, f"{wanted.label} (ai-edge-quantizer) failed", _REMEDY):
        from ai_edge_quantizer.quantizer import Quantizer

        quantizer = Quantizer(str(source))
        _configure(quantizer, wanted)
        ranges = None
        if quantizer.need_calibration:
            ranges = quantizer.calibrate(_feeds(source, calibration), num_threads=1)
        result = quantizer.quantize(ranges, enable_progress_report=False)
        destination.write_bytes(result.quantized_model)
        small, floating = _layers(destination)
    if not small:
        raise RecipeError(
            f"{wanted.label} changed nothing: the model has no layers with constant weights that ai-edge-quantizer "
            f"knows (it has {_listed(floating) or 'none at all'}).",
            remedy="Use another recipe: this one would only be the fp32 model under another name.",
        )
    left = (f"Left in fp32: {_listed(floating)}.",) if floating else ()
    return (f"Weights in {wanted.dtype}: {_listed(small)}.", *left)


def _configure(quantizer: Any, wanted: Cast | Quantize) -> None:
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName

    everything = (".*", TFLOperationName.ALL_SUPPORTED)
    match wanted:
        case Cast():
            quantizer.add_weight_only_config(*everything, num_bits=16, algorithm_key=AlgorithmName.FLOAT_CASTING)
        case Quantize(mode="static"):
            quantizer.add_static_config(*everything, activation_num_bits=8, weight_num_bits=8)
            for edge in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
                quantizer.update_quantization_recipe(".*", edge, algorithm_key=AlgorithmName.NO_QUANTIZE)
        case Quantize(mode="dynamic"):
            quantizer.add_dynamic_config(*everything, num_bits=_bits(wanted))
        case Quantize():
            quantizer.add_weight_only_config(*everything, num_bits=_bits(wanted))


def _bits(wanted: Quantize) -> int:
    return {"int8": 8, "int4": 4}[wanted.dtype]


def _feeds(path: Path, calibration: Sequence[Sample]) -> dict[str, list[dict[str, Any]]]:
    """Samples by the names of the signature, as the file takes them: the converter made int64 inputs int32."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    ((key, signature),) = interpreter._get_full_signature_list().items()
    names = {index: name for name, index in signature["inputs"].items()}
    inputs = [(names[details["index"]], np.dtype(details["dtype"])) for details in interpreter.get_input_details()]
    return {
        key: [
            {name: array.astype(dtype, copy=False) for (name, dtype), array in zip(inputs, sample, strict=True)}
            for sample in calibration
        ]
    }


def _layers(path: Path) -> tuple[Counter[str], Counter[str]]:
    """Operators whose constant weights are small (int8, int4, fp16), and those whose weights are fp32, by type."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    operators = interpreter._get_ops_details()
    types = {details["index"]: details["dtype"] for details in interpreter.get_tensor_details()}
    produced = {index: operator for operator in operators for index in operator["outputs"]}
    inputs = {details["index"] for details in interpreter.get_input_details()}
    small: Counter[str] = Counter()
    floating: Counter[str] = Counter()
    for operator in operators:
        position = _WEIGHTS.get(operator["op_name"])
        if position is None:
            continue
        weights = operator["inputs"][position]
        maker = produced.get(weights)
        if maker is not None and maker["op_name"] == "DEQUANTIZE":
            weights = maker["inputs"][0]
            maker = produced.get(weights)
        if maker is not None or weights in inputs:
            continue  # computed, as in attention
        counts = floating if types[weights] == np.float32 else small
        counts[operator["op_name"]] += 1
    return small, floating


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{number} x {name}" for name, number in counts.most_common())
