"""What ONNX Runtime's tools make of an fp32 file without calibration: fp16, dynamic int8, weight-only int8 and int4."""

from __future__ import annotations

from pathlib import Path

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.transforms import onnx_layers

BLOCK = 32  # weights of one input channel that share a scale in a weight-only matrix: the smallest with fast kernels

_REMEDY = "Look at the end of the build's log; use the fp32 recipe if the model cannot be converted."


def half(source: Path, destination: Path) -> tuple[str, ...]:
    """fp16 weights and arithmetic; inputs and outputs stay as they are. Returns notes. Raises RecipeError."""
    with Boundary(RecipeError, "The cast to fp16 (ONNX Runtime) failed", _REMEDY):
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16

        model = convert_float_to_float16(onnx.load(str(source)), keep_io_types=True)
        onnx.save(model, str(destination))
    if not any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer):
        raise RecipeError(
            "The cast to fp16 changed nothing: the model has no fp32 weights.", remedy="Use the recipe without it."
        )
    return ("Where ONNX Runtime's CPU has no fp16 kernel it computes in fp32 between casts: smaller, not faster.",)


def dynamic(source: Path, destination: Path) -> tuple[str, ...]:
    """int8 weights (per channel); activations are quantized when they are computed. Returns notes. Raises
    RecipeError."""
    with Boundary(RecipeError, "Dynamic quantization (ONNX Runtime) failed", _REMEDY):
        from onnxruntime.quantization import QuantType, quantize_dynamic

        prepared = prepare(source)
        quantize_dynamic(str(prepared), str(destination), per_channel=True, weight_type=QuantType.QInt8)
    covered = "convolutions, matrix products, LSTMs and embeddings with constant weights"
    return onnx_layers.quantized(destination, "int8-dynamic", covered)


def weight_only(source: Path, destination: Path, bits: int) -> tuple[str, ...]:
    """Weights of ``bits`` (8 or 4) in blocks of ``BLOCK`` with a scale each, for matrix products alone
    (``com.microsoft.MatMulNBits``). Returns notes. Raises RecipeError."""
    with Boundary(RecipeError, "Weight-only quantization (ONNX Runtime) failed", _REMEDY):
        import onnx
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
        from onnxruntime.quantization.onnx_model import ONNXModel

        model = ONNXModel(onnx.load(str(prepare(source))))
        model.replace_gemm_with_matmul()
        quantizer = MatMulNBitsQuantizer(model.model, bits=bits, block_size=BLOCK, is_symmetric=True)
        quantizer.process()
        quantizer.model.save_model_to_file(str(destination))
    covered = "linear layers (MatMul, Gemm) alone"
    return onnx_layers.quantized(destination, f"int{bits}-weight-only", covered)


def prepare(source: Path) -> Path:
    """The file with shapes inferred, constants folded and operators fused, as the quantizers want it."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = source.with_name("prepared.onnx")
    try:
        with Boundary(RecipeError, "ONNX Runtime's symbolic shape inference failed", _REMEDY):
            quant_pre_process(str(source), str(prepared))
    except RecipeError as error:  # of norms, in newer operator sets; ONNX's own inference does without symbols
        print(error.message)  # noqa: T201 - the build's log
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        _forget_shapes_of_weights(prepared)
    return prepared


def _forget_shapes_of_weights(path: Path) -> None:
    """The quantizers turn weights round, and stumble over what is written of them besides."""
    import onnx

    model = onnx.load(str(path))
    weights = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.value_info if value.name not in weights]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)
    onnx.save(model, str(path))
