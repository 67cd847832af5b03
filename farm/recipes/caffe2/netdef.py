"""Caffe2's ``NetDef`` read from its Protocol Buffers form, into plain Python.

The messages are made at run time from the field numbers that ``caffe2/proto/caffe2.proto`` published; fields that a
translation has no use for (devices, workers, debug information) are passed over as unknown ones. Names are bytes there
and decoded here: old files are not always UTF-8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from farm.errors import ModelError

MAX_OPERATORS = 20_000
Value = int | float | bytes | tuple[int, ...] | tuple[float, ...] | tuple[bytes, ...]

_SCALARS = {"float": 2, "int64": 3, "bytes": 12}  # of FieldDescriptorProto.Type
_OPTIONAL, _REPEATED = 1, 3
_MESSAGES: dict[str, dict[str, tuple[int, str, int]]] = {
    "Argument": {
        "name": (1, "bytes", _OPTIONAL),
        "f": (2, "float", _OPTIONAL),
        "i": (3, "int64", _OPTIONAL),
        "s": (4, "bytes", _OPTIONAL),
        "floats": (5, "float", _REPEATED),
        "ints": (6, "int64", _REPEATED),
        "strings": (7, "bytes", _REPEATED),
    },
    "OperatorDef": {
        "input": (1, "bytes", _REPEATED),
        "output": (2, "bytes", _REPEATED),
        "name": (3, "bytes", _OPTIONAL),
        "type": (4, "bytes", _OPTIONAL),
        "arg": (5, "Argument", _REPEATED),
    },
    "NetDef": {
        "name": (1, "bytes", _OPTIONAL),
        "op": (2, "OperatorDef", _REPEATED),
        "arg": (6, "Argument", _REPEATED),
        "external_input": (7, "bytes", _REPEATED),
        "external_output": (8, "bytes", _REPEATED),
    },
}


@dataclass(frozen=True)
class Operator:
    """``index``: its place in the net, from 0."""

    index: int
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arguments: Mapping[str, Value] = field(default_factory=dict)
    name: str = ""

    def __str__(self) -> str:
        named = f" {self.name!r}" if self.name else ""
        return f"operator {self.index} ({self.type}{named}: {', '.join(self.inputs)} -> {', '.join(self.outputs)})"


@dataclass(frozen=True)
class Net:
    name: str
    operators: tuple[Operator, ...]
    external_inputs: tuple[str, ...]
    external_outputs: tuple[str, ...]


@cache
def message(name: str) -> Any:
    """The generated class of a message, to read or (in tests) to write it."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="farm_caffe2.proto", package="farm_caffe2", syntax="proto2")
    for title, fields in _MESSAGES.items():
        kind = file.message_type.add(name=title)
        for key, (number, type_name, label) in fields.items():
            made = kind.field.add(name=key, number=number, label=label, type=_SCALARS.get(type_name, 11))
            if type_name not in _SCALARS:
                made.type_name = f".farm_caffe2.{type_name}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"farm_caffe2.{name}"))


def parse(content: bytes, what: str) -> Net:
    """``what``: the file's name. Raises ModelError."""
    from google.protobuf.message import DecodeError

    remedy = "Give the files that Caffe2's predictor exporter saved, in binary form (not the .pbtxt)."
    try:
        net = message("NetDef").FromString(content)
    except DecodeError as error:
        raise ModelError(f"{what} is no Caffe2 net: {error}.", remedy=remedy) from error
    if not (net.op or net.name or not content):  # a net without weights has an init net without operators
        raise ModelError(f"{what} is no Caffe2 net: no operator is in it.", remedy=remedy)
    if len(net.op) > MAX_OPERATORS:
        raise ModelError(f"{what} has {len(net.op):,} operators, over {MAX_OPERATORS:,}.", remedy=remedy)
    return Net(
        _text(net.name),
        tuple(_operator(index, found) for index, found in enumerate(net.op)),
        _texts(net.external_input),
        _texts(net.external_output),
    )


def _operator(index: int, found: Any) -> Operator:
    arguments = {_text(argument.name): _value(argument) for argument in found.arg}
    return Operator(
        index, _text(found.type), _texts(found.input), _texts(found.output), arguments, name=_text(found.name)
    )


def _value(argument: Any) -> Value:
    """What is set, lists first: an empty list cannot be told from one that is absent."""
    for key in ("floats", "ints", "strings"):
        if values := getattr(argument, key):
            return tuple(values)
    for key in ("f", "i", "s"):
        if argument.HasField(key):
            value: Value = getattr(argument, key)
            return value
    return ()


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(map(_text, values))
