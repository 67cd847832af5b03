"""ExecuTorch with the XNNPACK backend, in fp32 or in static int8 (PT2E with torchao)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes.built import Built, Values
from farm.types import ModelFormat, Quantize, Recipe

FILES = ("model.pte",)
VERSION = 1
TOOLS = ("torch", "executorch", "torchao")
EXTRA = "executorch"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT)
TOOLS_FOR: dict[str, tuple[str, ...]] = {}
NATIVE: tuple[str, ...] = ("int8-static",)
REFUSES: dict[str, str] = {}
OPTIONS: dict[str, Values] = {"backend": ("xnnpack",)}
_XNNPACK: dict[str, str | int | float | bool] = {"backend": "xnnpack"}
PRESETS = (
    (Recipe("executorch", options=_XNNPACK), "ExecuTorch on XNNPACK, fp32."),
    (
        Recipe("executorch", name="executorch-xnnpack-int8", transforms=(Quantize(),), options=_XNNPACK),
        "ExecuTorch on XNNPACK, static int8 (PT2E).",
    ),
)

_REMEDY = "Look at the end of the build's log; the operator it names may not be supported by ExecuTorch."


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    notes: list[str] = []
    exported = program.exported()
    if recipe.transforms:
        from farm.recipes.transforms import pt2e

        calibration, note = program.calibration_samples()
        quantized = pt2e.quantize(exported, [program.tensors(sample) for sample in calibration])
        exported = quantized.program
        notes += [note, *quantized.notes]
    with Boundary(RecipeError, "ExecuTorch does not convert the program", _REMEDY):
        content, left = _lower(exported)
    if left:
        names = ", ".join(f"{count} x {name}" for name, count in left.most_common(8))
        notes.append(f"Not delegated to XNNPACK, so run by slow portable kernels: {names}.")
    path = folder / FILES[0]
    path.write_bytes(content)
    return Built(tuple(notes))


def _lower(exported: Any) -> tuple[bytes, Counter[str]]:
    """The ``.pte`` and a count of the operators that the backend did not take."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    calls = (str(node.target) for node in lowered.exported_program().graph.nodes if node.op == "call_function")
    left = Counter(name for name in calls if "::" in name or "." in name)
    return bytes(lowered.buffer), left
