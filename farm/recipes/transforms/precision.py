"""Half precision: every float32 of the program becomes float16 or bfloat16, but for its inputs and outputs, which are
converted at the borders. float64 stays: who computes in it has a reason."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from farm.errors import RecipeError, RecipeSpecError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.transforms import Applied
from farm.types import Cast

VERSION = 1
TOOLS = ("torch",)

_REMEDY = "Look at the end of the build's log; use the fp32 recipe if the model cannot be cast."


def apply(program: Program, transform: Cast) -> Applied:
    import torch

    dtype = getattr(torch, transform.dtype)
    with Boundary(RecipeError, f"The program cannot be cast to {transform.dtype}", _REMEDY):
        module = program.module()
        if not any(tensor.dtype == torch.float32 for tensor in module.state_dict().values()):
            raise RecipeSpecError(
                f"{transform.label} would change nothing: the model has no float32 weights.",
                remedy="Leave the transform out.",
            )
        graphs = [part for part in module.modules() if isinstance(part, torch.fx.GraphModule)]
        for graph in graphs:  # also those of branches and loops
            _cast_operators(graph, dtype)
        _cast_borders(module, dtype)
        clamped = _cast_tensors(module, dtype)
        for graph in graphs:
            graph.recompile()
        exported = program.export(module)
    limit = f"{torch.finfo(dtype).max:g}"
    notes = (f"{clamped} weights were beyond ±{limit} and are that now.",) if clamped else ()
    return Applied(program.replaced(exported), notes)


def _cast_tensors(module: Any, dtype: Any) -> int:
    """Parameters, buffers and constants. Returns how many elements had to be brought into the type's range."""
    import torch

    clamped = 0
    for owner, name, value in list(_tensors(module)):
        if value.dtype == torch.float32:
            limit = torch.finfo(dtype).max
            beyond = value.detach().isfinite() & (value.detach().abs() > limit)
            clamped += int(beyond.sum())
            half = torch.where(beyond, value.detach().clamp(-limit, limit), value.detach()).to(dtype)
            if name in owner._parameters:
                owner._parameters[name] = torch.nn.Parameter(half, requires_grad=False)
            else:
                setattr(owner, name, half)
    return clamped


def _tensors(module: Any) -> Iterator[tuple[Any, str, Any]]:
    import torch

    for owner in module.modules():
        for name, value in [*owner._parameters.items(), *owner._buffers.items(), *vars(owner).items()]:
            if isinstance(value, torch.Tensor):
                yield owner, name, value


def _cast_operators(graph: Any, dtype: Any) -> None:
    """Operators that name float32 name ``dtype``; what comes out as float32 of integers alone is converted; and no
    constant is beyond the type's range, since infinity times zero would be no number."""
    import torch
    from torch.fx.node import map_aggregate
    from torch.utils import _pytree as pytree

    for node in list(graph.graph.nodes):
        if node.op != "call_function":
            continue
        if node.target == torch.ops.aten._assert_tensor_metadata.default:
            graph.graph.erase_node(node)
            continue
        named = torch.float32 in pytree.tree_leaves((node.args, dict(node.kwargs)))
        node.args, node.kwargs = map_aggregate(
            (node.args, node.kwargs), lambda value: dtype if value is torch.float32 else value
        )
        if _is_float32(node):
            _limit_constants(node, torch.finfo(dtype).max)
            if not named and not any(map(_is_floating, node.all_input_nodes)):
                _convert(graph.graph, node, dtype)


def _cast_borders(module: Any, dtype: Any) -> None:
    import torch

    graph = module.graph
    for node in filter(_is_float32, graph.find_nodes(op="placeholder")):
        _convert(graph, node, dtype)
    (output,) = graph.find_nodes(op="output")

    def widened(node: Any) -> Any:
        return graph.call_function(torch.ops.aten.to.dtype, (node, torch.float32)) if _is_float32(node) else node

    with graph.inserting_before(output):
        output.args = torch.fx.map_arg(output.args, widened)


def _convert(graph: Any, node: Any, dtype: Any) -> None:
    """All that use ``node`` get it in ``dtype``."""
    import torch

    with graph.inserting_after(node):
        half = graph.call_function(torch.ops.aten.to.dtype, (node, dtype))
    half.meta["val"] = node.meta["val"]  # as it was: what is float32 here is widened again where it leaves
    node.replace_all_uses_with(half, delete_user_cb=lambda user: user is not half)


def _limit_constants(node: Any, limit: float) -> None:
    """Only where the operator's schema takes a number as data; sizes and positions are let be."""
    if not hasattr(node.target, "_schema"):
        return
    data = {argument.name for argument in node.target._schema.arguments if str(argument.type) in ("number", "Tensor")}
    names = [argument.name for argument in node.target._schema.arguments]

    def limited(name: str, value: Any) -> Any:
        plain = isinstance(value, (int, float)) and not isinstance(value, bool)
        if name in data and plain and math.isfinite(value) and abs(value) > limit:
            return math.copysign(limit, value)
        return value

    node.args = tuple(limited(name, value) for name, value in zip(names, node.args, strict=False))
    node.kwargs = {name: limited(name, value) for name, value in node.kwargs.items()}


def _is_float32(node: Any) -> bool:
    import torch

    return bool(getattr(node.meta.get("val"), "dtype", None) == torch.float32)


def _is_floating(node: Any) -> bool:
    from torch.utils import _pytree as pytree

    dtypes = [getattr(value, "dtype", None) for value in pytree.tree_leaves(node.meta.get("val"))]
    return any(dtype is not None and dtype.is_floating_point for dtype in dtypes)
