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
from farm.recipes.transforms import ai_edge_bias
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

        manager = _recipe(wanted)
        ranges = _ranges(source, manager, calibration) if manager.need_calibration() else None
        quantizer = Quantizer(str(source), manager.get_quantization_recipe())
        result = quantizer.quantize(ranges, enable_progress_report=False)
        destination.write_bytes(result.quantized_model)
        small, floating = _layers(destination)
        corrected = ai_edge_bias.correct(source, destination, _narrowed(source, calibration)) if ranges else 0
    if not small:
        raise RecipeError(
            f"{wanted.label} changed nothing: the model has no layers with constant weights that ai-edge-quantizer "
            f"knows (it has {_listed(floating) or 'none at all'}).",
            remedy="Use another recipe: this one would only be the fp32 model under another name.",
        )
    left = (f"Left in fp32: {_listed(floating)}.",) if floating else ()
    biases = (f"Bias corrected in {corrected} layers.",) if ranges else ()
    return (f"Weights in {wanted.dtype}: {_listed(small)}.", *left, *biases)


def _recipe(wanted: Cast | Quantize) -> Any:
    """The quantizer's own ``RecipeManager``, filled in."""
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    manager = RecipeManager()
    everything = (".*", TFLOperationName.ALL_SUPPORTED)
    match wanted:
        case Cast():
            manager.add_weight_only_config(*everything, num_bits=16, algorithm_key=AlgorithmName.FLOAT_CASTING)
        case Quantize(mode="static"):
            manager.add_static_config(*everything, activation_num_bits=8, weight_num_bits=8)
            for edge in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
                manager.add_quantization_config(".*", edge, algorithm_key=AlgorithmName.NO_QUANTIZE)
        case Quantize(mode="dynamic"):
            manager.add_dynamic_config(*everything, num_bits=_bits(wanted))
        case Quantize():
            manager.add_weight_only_config(*everything, num_bits=_bits(wanted))
    return manager


def _bits(wanted: Quantize) -> int:
    return {"int8": 8, "int4": 4}[wanted.dtype]


def _ranges(path: Path, manager: Any, calibration: Sequence[Sample]) -> dict[str, Any]:
    """The smallest and the largest value of each tensor over all samples. The quantizer's own way is a moving average
    in which the first sample outweighs the next thirteen."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer.calibrator import Calibrator
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    interpreter = Interpreter(str(path))
    ((key, signature),) = interpreter._get_full_signature_list().items()
    names = {index: name for name, index in signature["inputs"].items()}
    order = [names[details["index"]] for details in interpreter.get_input_details()]
    feeds = [dict(zip(order, sample, strict=True)) for sample in _narrowed(path, calibration)]
    calibrator = Calibrator(str(path), num_threads=1, qsv_update_func=min_max_update)
    calibrator.calibrate({key: feeds}, manager)
    ranges: dict[str, Any] = calibrator.get_model_qsvs()
    return ranges


def _narrowed(path: Path, calibration: Sequence[Sample]) -> list[Sample]:
    """Samples as the file takes them: the converter made int64 inputs int32."""
    from ai_edge_litert.interpreter import Interpreter

    dtypes = [np.dtype(details["dtype"]) for details in Interpreter(str(path)).get_input_details()]
    return [
        tuple(array.astype(dtype, copy=False) for array, dtype in zip(sample, dtypes, strict=True))
        for sample in calibration
    ]


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
