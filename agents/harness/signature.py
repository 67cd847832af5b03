"""What the farm wrote beside an artifact whose format does not tell the order and shapes of inputs and outputs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.harness.tensors import Input

FILE = "signature.json"


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
