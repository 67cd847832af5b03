"""Fusing what PyTorch has a fold for: a batch norm goes into the convolution or linear layer before it
(``torch.nn.utils.fusion``), dropout goes away. Activations stay: runtimes fuse them in their own
kernels."""

from __future__ import annotations

from collections import Counter
from typing import Any

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.transforms import Applied, layers
from farm.types import Fuse

VERSION = 1
TOOLS = ("torch",)
_REMEDY = "Look at the end of the build's log; leave `fuse` out: most runtimes fold batch norms themselves."
_DROPOUT = ("aten.dropout.default", "aten.dropout_.default", "aten.feature_dropout.default")


def apply(program: Program, transform: Fuse) -> Applied:
    exported = program.exported()
    module = layers.of(exported)
    with Boundary(RecipeError, "Folding batch norms failed", _REMEDY):
        norms = sum(isinstance(part, _batch_norm()) for part in module.modules())
        folded, dropped = _fold(module), _drop(module)
    notes = []
    if folded:
        notes.append(f"{folded} of {norms} batch norms folded into the layer before them.")
    if dropped:
        notes.append(f"{dropped} dropouts removed.")
    if not notes:
        notes.append("Nothing to fuse: no batch norm follows a convolution or linear layer, and there is no dropout.")
        return Applied(program, tuple(notes))
    notes.append("Activations are left to the runtime, which fuses them in its own kernels where it can.")
    return Applied(program.replaced(layers.export(module, exported, program.tensors())), tuple(notes))


def _batch_norm() -> Any:
    import torch

    return torch.nn.modules.batchnorm._BatchNorm


def _fold(module: Any) -> int:
    """Fold in place; returns how many. Layers that are called twice, or whose output somebody else takes, stay."""
    from torch.fx.experimental.optimization import replace_node_module

    parts = dict(module.named_modules())
    calls = Counter(node.target for node in module.graph.nodes if node.op == "call_module")
    folded = 0
    for node in list(module.graph.nodes):
        if node.op != "call_module" or not isinstance(parts[node.target], _batch_norm()):
            continue
        before = node.args[0]
        single = before.op == "call_module" and len(before.users) == 1
        if not single or calls[before.target] > 1 or calls[node.target] > 1:
            continue
        fused = _fused(parts[before.target], parts[node.target], before.meta["val"].ndim)
        if fused is not None:
            replace_node_module(before, parts, fused)
            node.replace_all_uses_with(before)
            module.graph.erase_node(node)
            folded += 1
    module.delete_all_unused_submodules()
    module.recompile()
    return folded


def _fused(layer: Any, norm: Any, dimensions: int) -> Any | None:
    """The two as one layer; None where there is no fold for them."""
    import torch
    from torch.nn.utils import fusion

    transposed = isinstance(layer, torch.nn.modules.conv._ConvTransposeNd)
    if isinstance(layer, torch.nn.modules.conv._ConvNd) and not (transposed and layer.groups > 1):
        return fusion.fuse_conv_bn_eval(layer, norm, transpose=transposed)
    if isinstance(layer, torch.nn.Linear) and dimensions == 2:
        return fusion.fuse_linear_bn_eval(layer, norm)
    return None


def _drop(module: Any) -> int:
    dropouts = [node for node in module.graph.nodes if str(node.target) in _DROPOUT]
    for node in dropouts:
        node.replace_all_uses_with(node.args[0])
        module.graph.erase_node(node)
    module.recompile()
    return len(dropouts)
