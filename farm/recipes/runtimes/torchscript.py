"""TorchScript: traced and frozen (parameters become constants, batch norms fold, dropout goes)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes.built import Built, Values
from farm.types import ModelFormat, Recipe

FILES = ("model.ts",)
VERSION = 1
TOOLS = ("torch",)
EXTRA = "torch"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT)
TOOLS_FOR: dict[str, tuple[str, ...]] = {}
NATIVE: tuple[str, ...] = ()
REFUSES: dict[str, str] = {}
OPTIONS: dict[str, Values] = {}
PRESETS = ((Recipe("torchscript"), "TorchScript, traced and frozen."),)


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    path = folder / FILES[0]
    script = frozen(program)
    with Boundary(RecipeError, "torch.jit.save failed", "Look at the end of the build's log."):
        script.save(str(path))
    return Built()


def frozen(program: Program) -> Any:
    """The program as a frozen ``ScriptModule`` that returns a tensor or a flat tuple of tensors."""
    import torch

    if program.spec.format == ModelFormat.TORCHSCRIPT:
        script = program.script()
    else:
        module = _flat(program.module())
        remedy = "torch.jit.trace cannot follow this program: use another runtime for it."
        with Boundary(RecipeError, "torch.jit.trace failed", remedy), torch.no_grad():
            script = torch.jit.trace(module, program.tensors(), check_trace=False)
    if not hasattr(script, "training"):  # frozen by the sender
        return script
    with Boundary(RecipeError, "torch.jit.freeze failed", "Look at the end of the build's log."):
        return torch.jit.freeze(script)


def _flat(module: Any) -> Any:
    """Tracing takes no dicts as outputs, and the farm compares outputs in flattened order anyway."""
    import torch
    from torch.utils._pytree import tree_leaves

    class Flat(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.module = module
            self.training = False

        def forward(self, *inputs: Any) -> Any:
            outputs = tree_leaves(self.module(*inputs))
            return outputs[0] if len(outputs) == 1 else tuple(outputs)

    return Flat()
