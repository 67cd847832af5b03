"""Writes Caffe2 nets as its Python front end did: operators with arguments, weights as fills in an init net."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from farm.recipes.caffe2.netdef import message

FILLS = {"float32": "GivenTensorFill", "int64": "GivenTensorInt64Fill", "int32": "GivenTensorIntFill"}


class Nets:
    """``init`` and ``predict``; ``data`` is the input unless said otherwise."""

    def __init__(self, name: str = "net", inputs: tuple[str, ...] = ("data",)) -> None:
        self.init, self.predict = message("NetDef")(), message("NetDef")()
        self.init.name, self.predict.name = b"init", name.encode()
        self.predict.external_input.extend(each.encode() for each in inputs)

    def weight(self, name: str, array: Any) -> str:
        array = np.asarray(array)
        add(self.init, FILLS[array.dtype.name], [], [name], shape=list(array.shape), values=array.ravel().tolist())
        self.predict.external_input.append(name.encode())
        return name

    def op(self, kind: str, inputs: list[str], *outputs: str, **arguments: Any) -> str:
        add(self.predict, kind, inputs, list(outputs), **arguments)
        return outputs[0]

    def output(self, *names: str) -> None:
        self.predict.external_output.extend(name.encode() for name in names)

    def bytes(self) -> tuple[bytes, bytes]:
        return self.init.SerializeToString(), self.predict.SerializeToString()

    def save(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in zip(("init_net.pb", "predict_net.pb"), self.bytes(), strict=True):
            (folder / name).write_bytes(content)
        return folder


def add(net: Any, kind: str, inputs: list[str], outputs: list[str], **arguments: Any) -> None:
    operator = net.op.add(type=kind.encode())
    operator.input.extend(name.encode() for name in inputs)
    operator.output.extend(name.encode() for name in outputs)
    for name, value in arguments.items():
        argument = operator.arg.add(name=name.encode())
        if isinstance(value, (list, tuple)):
            (argument.floats if any(isinstance(item, float) for item in value) else argument.ints).extend(value)
        elif isinstance(value, float):
            argument.f = value
        elif isinstance(value, int):
            argument.i = value
        else:
            argument.s = value.encode() if isinstance(value, str) else value
