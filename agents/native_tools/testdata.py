"""An input as ``onnxruntime_perf_test`` reads it: a serialized ``onnx.TensorProto`` (onnx.proto3), without the package.

Fields: 1 ``dims`` (repeated int64), 2 ``data_type``, 9 ``raw_data`` (little-endian, C order).
"""

from __future__ import annotations

from collections.abc import Sequence

from farm.errors import UserError

_TYPES = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "int16": 5,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float16": 10,
    "float64": 11,
}


def tensor_proto(dtype: str, shape: Sequence[int], content: bytes) -> bytes:
    """Raises UserError for a type that ONNX inputs do not have."""
    if dtype not in _TYPES:
        raise UserError(f"onnxruntime_perf_test takes no {dtype} inputs.", remedy=f"It takes {', '.join(_TYPES)}.")
    dims = b"".join(b"\x08" + _varint(size) for size in shape)
    return dims + b"\x10" + _varint(_TYPES[dtype]) + b"\x4a" + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(found) + bytes([value])
