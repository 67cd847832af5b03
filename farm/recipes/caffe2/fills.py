"""Init nets: operators that fill a blob with what is written in them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from farm.errors import ModelError
from farm.recipes.caffe2.arguments import Arguments
from farm.recipes.caffe2.netdef import Operator, Value
from farm.recipes.samples import Array

MAX_BYTES = 2**31 - 1  # of one blob: what ONNX can hold
_DTYPES = {1: "float32", 2: "int32", 3: "uint8", 5: "bool", 6: "uint8", 7: "int8", 9: "int16", 10: "int64",
           12: "float16", 13: "float64"}  # of TensorProto.DataType  # fmt: skip
_RANDOM = ("GaussianFill", "MSRAFill", "UniformFill", "XavierFill")


def _given(dtype: str) -> Callable[[Operator, Arguments], Array]:
    def fill(operator: Operator, arguments: Arguments) -> Array:
        shape = _shape(arguments, dtype)
        found = arguments.get("values")
        values: tuple[Value, ...] = found if isinstance(found, tuple) else () if found is None else (found,)
        if len(values) != math.prod(shape) or any(isinstance(value, (bytes, tuple)) for value in values):
            raise ModelError(
                f"{operator} holds {len(values):,} values, its shape {list(shape)} takes {math.prod(shape):,}.",
                remedy="The init net is damaged or cut: copy it again.",
            )
        return np.array(values, dtype=dtype).reshape(shape)

    return fill


def _bytes(operator: Operator, arguments: Arguments) -> Array:
    shape = _shape(arguments, "uint8")
    values = arguments.get("values")
    content = values[0] if isinstance(values, tuple) and len(values) == 1 else values
    if not isinstance(content, bytes) or len(content) != math.prod(shape):
        raise ModelError(
            f"{operator} does not hold the {math.prod(shape):,} bytes of its shape.",
            remedy="The init net is damaged or cut: copy it again.",
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _constant(operator: Operator, arguments: Arguments) -> Array:
    value = arguments.get("value")
    number = arguments.integer("dtype", 10 if isinstance(value, int) else 1)
    if number not in _DTYPES:
        raise arguments.wrong("dtype", "a type of numbers")
    if not isinstance(value, (int, float, type(None))):
        raise arguments.wrong("value", "a number")
    shape = _shape(arguments, _DTYPES[number])
    return np.full(shape, value or 0).astype(_DTYPES[number])


FILLS: dict[str, Callable[[Operator, Arguments], Array]] = {
    "GivenTensorFill": _given("float32"),
    "GivenTensorDoubleFill": _given("float64"),
    "GivenTensorIntFill": _given("int32"),
    "GivenTensorInt64Fill": _given("int64"),
    "GivenTensorInt16Fill": _given("int16"),
    "GivenTensorBoolFill": _given("bool"),
    "GivenTensorByteStringToUInt8Fill": _bytes,
    "ConstantFill": _constant,
}


def fill(operator: Operator) -> Array:
    """What the operator makes. Raises ModelError; ``operator.type`` must be in FILLS."""
    if operator.inputs or len(operator.outputs) != 1:
        raise ModelError(
            f"{operator} takes its shape from another blob, which the farm does not follow.",
            remedy="Write the shape into the operator.",
        )
    arguments = Arguments(operator)
    try:
        array = FILLS[operator.type](operator, arguments)
    except (OverflowError, ValueError, MemoryError) as error:
        raise ModelError(
            f"{operator} cannot be filled: {error}.", remedy="The net is damaged: copy it again."
        ) from error
    arguments.check_all_read()
    return array


def why_random(kind: str) -> str:
    """For an operator of that type in an init net: what is wrong with it; empty where it is not random."""
    return "it fills weights with random numbers, so nothing was trained" if kind in _RANDOM else ""


def _shape(arguments: Arguments, dtype: str) -> tuple[int, ...]:
    arguments.get("extra_shape"), arguments.get("input_as_shape")
    shape = arguments.integers("shape")
    if any(size < 0 for size in shape) or math.prod(shape) * np.dtype(dtype).itemsize > MAX_BYTES:
        raise arguments.wrong("shape", f"a shape of at most {MAX_BYTES:,} bytes")
    return shape
