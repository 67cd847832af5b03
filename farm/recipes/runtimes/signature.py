"""A file beside an artifact whose format does not tell what the harness has to know: the order of inputs and outputs,
their shapes, and what to compute in. ``agents/harness/signature.py`` reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from farm.recipes.samples import Sample
from farm.types import TensorSpec

FILE = "signature.json"


def write(
    folder: Path,
    *,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    settings: Mapping[str, Any],
) -> None:
    """``inputs`` and ``outputs`` in PyTorch's order, under the names that the runtime knows them by."""
    document = {
        "inputs": [spec.model_dump() for spec in inputs],
        "outputs": [spec.model_dump() for spec in outputs],
        "settings": dict(settings),
    }
    (folder / FILE).write_text(json.dumps(document))


def named(specs: Sequence[TensorSpec], names: Sequence[str]) -> list[TensorSpec]:
    """The same tensors under other names. Raises ValueError where their numbers differ."""
    return [spec.model_copy(update={"name": name}) for spec, name in zip(specs, names, strict=True)]


def outputs_of(sample: Sample) -> list[TensorSpec]:
    """What PyTorch answers, described; names follow the positions."""
    return [
        TensorSpec(name=f"output_{position}", shape=array.shape, dtype=array.dtype.name)
        for position, array in enumerate(sample)
    ]
