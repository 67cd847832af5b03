"""What the farm wrote beside an artifact whose format does not tell the order and shapes of inputs and outputs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.harness.failure import Failure
from agents.harness.tensors import Array, Input

FILE = "signature.json"
INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class Tensor:
    """``name``: the runtime's own."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs in PyTorch's order, and the settings that the builder decided on."""

    inputs: list[Tensor]
    outputs: list[Tensor]
    settings: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Signature:
        """Raises OSError, ValueError, KeyError, TypeError: the harness turns them into ``load-failed``."""
        document = json.loads(path.read_text())
        tensors = {
            key: [Tensor(each["name"], tuple(each["shape"]), each["dtype"]) for each in document[key]]
            for key in ("inputs", "outputs")
        }
        return cls(**tensors, settings=document["settings"])

    @property
    def expected(self) -> list[Input]:
        return [Input(each.name, each.shape, each.dtype) for each in self.inputs]


def narrowed(name: str, array: Array, runtime: str) -> Array:
    """int64 as int32, for runtimes that have no wider integers. Raises Failure where a value does not fit."""
    if array.dtype != np.int64:
        return array
    if array.size and (array.min() < INT32.min or array.max() > INT32.max):
        raise Failure(
            "wrong-input-range",
            f"Input {name} holds {array.min()} to {array.max()}; {runtime} made it int32.",
            remedy="Use inputs within the range of int32, or another recipe for this model.",
            fault="recipe",
        )
    return array.astype(np.int32)
