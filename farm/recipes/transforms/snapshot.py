"""How far a training is, in a safetensors file: appears whole or not at all, and knows when it was damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary

_STUDENT, _OPTIMIZER = "student.", "optimizer"


@dataclass(frozen=True)
class Snapshot:
    """``step`` is the next one. ``student``: its parameters and buffers by name. ``optimizers``: of the first (0),
    second, ..., by the index of the parameter, what it keeps of it; empty where nothing is left to train."""

    step: int
    losses: Sequence[float]
    device: str
    student: Mapping[str, Any]
    optimizers: Mapping[int, Mapping[int, Mapping[str, Any]]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        from safetensors.torch import save_file

        tensors = {f"{_STUDENT}{name}": tensor for name, tensor in self.student.items()}
        numbers: dict[str, Any] = {}
        for place, state in self.optimizers.items():
            for index, values in state.items():
                for name, value in values.items():
                    target = tensors if hasattr(value, "detach") else numbers
                    target[f"{_OPTIMIZER}.{place}.{index}.{name}"] = value
        told = {"step": self.step, "losses": list(self.losses), "device": self.device, "numbers": numbers}
        copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
        text = json.dumps(told)
        temporary = path.with_suffix(".tmp")
        save_file(copies, str(temporary), metadata={"farm": text, "sha256": _digest(text, copies)})
        temporary.replace(path)

    @staticmethod
    def read(path: Path, student: Mapping[str, Any]) -> Snapshot:
        """Of a student whose tensors have these names and shapes. Raises RecipeError: damaged, or another's."""
        from safetensors import safe_open

        with Boundary(RecipeError, "A checkpoint cannot be read", "Train from the beginning."):
            with safe_open(str(path), framework="pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if _digest(metadata["farm"], tensors) != metadata["sha256"]:
                raise ValueError("its content is not what was written")
            told = json.loads(metadata["farm"])
            kept = {name.removeprefix(_STUDENT): each for name, each in tensors.items() if name.startswith(_STUDENT)}
            if {name: each.shape for name, each in kept.items()} != {n: each.shape for n, each in student.items()}:
                raise ValueError("it is of another student")
            optimizers: dict[int, dict[int, dict[str, Any]]] = {}
            for name, value in (tensors | told["numbers"]).items():
                if not name.startswith(_STUDENT):
                    _, place, index, key = name.split(".", 3)
                    optimizers.setdefault(int(place), {}).setdefault(int(index), {})[key] = value
            return Snapshot(told["step"], told["losses"], told["device"], kept, optimizers)


def _digest(told: str, tensors: Mapping[str, Any]) -> str:
    import torch

    digest = hashlib.sha256(told.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)} ".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
