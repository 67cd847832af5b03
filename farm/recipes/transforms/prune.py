"""Pruning by magnitude: single weights over the whole program (``torch.nn.utils.prune``), or whole channels, so that
tensors are really smaller (torch-pruning)."""

from __future__ import annotations

from typing import Any

from farm.errors import RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.transforms import Applied, channels, layers
from farm.types import Prune

VERSION = 1
TOOLS = ("torch", "torch-pruning")
_REMEDY = "Look at the end of the build's log; prune without `structured`, or leave it out."


def apply(program: Program, transform: Prune) -> Applied:
    exported = program.exported()
    module = layers.of(exported)
    if not weighty(module):
        raise RecipeError(
            "There is nothing to prune: the program has no convolution or linear layer with parameters of its own.",
            remedy="Upload the model as .pt2 rather than as frozen TorchScript, or leave pruning out.",
        )
    if transform.structured:
        notes = _structured(module, program.tensors(), transform.amount)
    else:
        notes = (_unstructured(module, transform.amount),)
    return Applied(program.replaced(layers.export(module, exported, program.tensors())), notes)


def weighty(module: Any) -> list[Any]:
    """The layers that weigh: convolutions and linear ones."""
    import torch

    kinds = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
    return [layer for layer in module.modules() if isinstance(layer, kinds)]


def _unstructured(module: Any, amount: float) -> str:
    from torch.nn.utils import prune

    weights = [(layer, "weight") for layer in weighty(module)]
    with Boundary(RecipeError, "torch.nn.utils.prune failed", _REMEDY):
        prune.global_unstructured(weights, pruning_method=prune.L1Unstructured, amount=amount)
        for layer, name in weights:
            prune.remove(layer, name)
    zeros = sum(int((layer.weight == 0).sum()) for layer, _ in weights)
    total = sum(layer.weight.numel() for layer, _ in weights)
    return (
        f"{zeros:,} of {total:,} weights of {len(weights)} layers are zero ({zeros / total:.1%}). Tensors keep their "
        "size: the file shrinks when it is compressed, and only engines with sparse kernels become faster."
    )


def _structured(module: Any, example: tuple[Any, ...], amount: float) -> tuple[str, ...]:
    """Prunes in place. Raises RecipeError naming the operator that does not take fewer channels."""
    import torch

    before = _parameters(module)
    found = channels.followed(module)
    prunable = [layer for layer in weighty(module) if layer not in found.protected]
    if not prunable:
        raise RecipeError(
            f"No channel can be taken away: {found.note(weighty(module))}",
            remedy="Prune without `structured`, or leave pruning out.",
        )
    with Boundary(RecipeError, "torch-pruning failed", _REMEDY), torch.enable_grad():
        import torch_pruning

        for parameter in module.parameters():
            parameter.requires_grad_(parameter.is_floating_point())  # it follows the graph of gradients
        pruner = torch_pruning.pruner.BasePruner(
            module,
            example,
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=amount,
            ignored_layers=list(found.protected),
            root_module_types=[torch.nn.modules.conv._ConvNd, torch.nn.Linear],
            output_transform=_tensors,
        )
        pruner.step()
    with torch.no_grad():
        _Fitting(module).run(*example)
    module.recompile()
    after = _parameters(module)
    if after == before:
        raise RecipeError(
            f"torch-pruning takes no channel from {len(prunable)} layers: {found.note(weighty(module))}",
            remedy="Prune more, or without `structured`.",
        )
    note = f"{before:,} parameters became {after:,} ({after / before:.1%}): {amount:.0%} of the channels are gone"
    return (f"{note} wherever they could be.", found.note(weighty(module)))


def _parameters(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _tensors(outputs: Any) -> list[Any]:
    """What torch-pruning follows back: outputs that depend on parameters."""
    from torch.utils._pytree import tree_leaves

    return [output for output in tree_leaves(outputs) if output.requires_grad]


def _Fitting(module: Any) -> Any:
    """Runs the graph; sizes that were written into it follow the channels that are left."""
    import torch

    class Fitting(torch.fx.Interpreter):  # type: ignore[misc]
        def run_node(self, node: Any) -> Any:
            name = str(node.target)
            if name in ("aten.view.default", "aten.reshape.default", "aten._unsafe_view.default"):
                _fit(node, tuple(self.env[node.args[0]].shape))
            line = (node.meta.get("stack_trace") or "").strip().splitlines()[-2:]
            what = f"After pruning, {name} ({node.name}) does not run"
            where = f" Written as: {' '.join(part.strip() for part in line)}." if line else ""
            with Boundary(RecipeError, what, f"{_REMEDY}{where}"):
                return super().run_node(node)

    return Fitting(module)


def _fit(node: Any, now: tuple[int, ...]) -> None:
    """Write the sizes that a reshape needs now, if it is not the one it was exported with."""
    before, after = channels.shape_of(node.args[0]), channels.shape_of(node)
    sizes = channels.resized(before, after, now)
    if sizes is None:
        raise RecipeError(
            f"After pruning, {node.target} ({node.name}) has no size to take: {list(before)} became {list(now)}, and "
            f"was written as {list(after)}.",
            remedy=_REMEDY,
        )
    given = node.args[1]  # -1 and sizes that are computed follow by themselves
    node.update_arg(
        1, [new if isinstance(old, int) and old > 0 else old for old, new in zip(given, sizes, strict=True)]
    )
