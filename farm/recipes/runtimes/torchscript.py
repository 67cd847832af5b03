"""TorchScript: traced or scripted, and frozen (parameters become constants, batch norms fold, dropout goes).

``optimize_for_inference`` is applied where the program is loaded: what it packs for oneDNN cannot be saved and loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from farm.errors import RecipeError, RecipeSpecError
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
REFUSES: dict[str, str] = {
    "dynamic-batch": "a trace keeps the sizes that it was made with; take batch",
    "int8-static": "only FX graph mode makes it, with wrong results; take aotinductor or pytorch with mode=compile",
}
OPTIONS: dict[str, Values] = {
    "method": ("trace", "script"),
    "freeze": (True, False),
    "optimize_for_inference": (False, True),
}
PRESETS = (
    (Recipe("torchscript"), "TorchScript, traced and frozen."),
    (Recipe("torchscript", options={"method": "script"}), "TorchScript, scripted and frozen."),
    (
        Recipe("torchscript", name="torchscript-optimized", options={"optimize_for_inference": True}),
        "TorchScript, traced, frozen, and optimized for inference when it is loaded.",
    ),
)


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    path = folder / FILES[0]
    if recipe.options["optimize_for_inference"] and not recipe.options["freeze"]:
        raise RecipeSpecError("optimize_for_inference takes frozen programs.", remedy="Leave freeze=False out.")
    script = scripted(program, str(recipe.options["method"]))
    if recipe.options["freeze"]:
        script = _frozen(script)
    with Boundary(RecipeError, "torch.jit.save failed", "Look at the end of the build's log."):
        script.save(str(path))
    return Built()


def frozen(program: Program) -> Any:
    """The program traced and frozen, see ``scripted``."""
    return _frozen(scripted(program, "trace"))


def scripted(program: Program, method: str) -> Any:
    """The program as a ``ScriptModule`` that returns a tensor or a flat tuple of tensors; uploads are what they are."""
    import torch

    if program.spec.format == ModelFormat.TORCHSCRIPT:
        return program.script()
    if method == "script":
        remedy = "TorchScript's compiler does not take this program: leave method=script out, or use another runtime."
        with Boundary(RecipeError, "torch.jit.script failed", remedy):
            return torch.jit.script(_scriptable(program.module()))
    module = _flat(program.module())
    remedy = "torch.jit.trace cannot follow this program: use another runtime for it."
    with Boundary(RecipeError, "torch.jit.trace failed", remedy), torch.no_grad():
        return torch.jit.trace(module, program.tensors(), check_trace=False)


def _frozen(script: Any) -> Any:
    import torch

    if not hasattr(script, "training"):  # frozen by the sender
        return script
    with Boundary(RecipeError, "torch.jit.freeze failed", "Look at the end of the build's log."):
        return torch.jit.freeze(script)


def _scriptable(module: Any) -> Any:
    """An exported module as plain Python that TorchScript's compiler reads: operators by their names without
    overloads, inputs and outputs without pytrees."""
    import torch

    for node in module.graph.nodes:
        if node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload):
            node.target = node.target.overloadpacket
        if node.op == "output":
            outputs = node.args[0]
            node.args = (outputs[0] if len(outputs) == 1 else tuple(outputs),)
    module.graph.set_codegen(torch.fx.graph.CodeGen())
    plain = torch.fx.GraphModule(module, module.graph)
    return plain.eval()


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
