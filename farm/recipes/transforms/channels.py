"""Follows channels through a graph of layers: whose may be taken away, since everything up to the next layer takes
each channel by itself, and whose may not.

Channels are the axis that a layer makes anew (1 of a convolution, the last of a linear layer). An operator that is not
listed here, or mixes channels, protects the layers whose channels reach it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

_ELEMENTWISE = {
    "relu", "relu_", "relu6", "relu6_", "hardtanh", "hardtanh_", "silu", "silu_", "gelu", "elu", "elu_", "leaky_relu",
    "leaky_relu_", "hardswish", "hardswish_", "hardsigmoid", "hardsigmoid_", "mish", "mish_", "softplus", "sigmoid",
    "sigmoid_", "tanh", "tanh_", "clamp", "clamp_", "clamp_min", "exp", "abs", "neg", "sqrt", "rsqrt", "pow",
    "dropout", "dropout_", "feature_dropout", "alias", "clone", "contiguous", "detach", "to", "_to_copy", "add",
    "add_", "sub", "mul", "mul_", "div", "maximum", "minimum",
}  # fmt: skip
_SPATIAL = {
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "upsample_nearest1d",
    "upsample_nearest2d", "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d",
}  # fmt: skip
_RESHAPING = ("view", "reshape", "_unsafe_view", "flatten")


@dataclass
class Channels:
    """``protected``: layers that keep all their outputs, with what it is that needs them."""

    protected: dict[Any, str] = field(default_factory=dict)

    def note(self, layers: Iterable[Any]) -> str:
        """``layers``: all that have channels to take; embeddings are counted with them where they keep theirs."""
        reasons = Counter(self.protected.values())
        listed = ", ".join(f"{count} for {reason}" for reason, count in reasons.most_common())
        return f"{len(self.protected)} of {len({*layers, *self.protected})} layers keep all their channels ({listed})."


@dataclass(frozen=True)
class _Flow:
    """The axis that a tensor's channels lie in (None: no layer's), and the layers that made them."""

    axis: int | None = None
    sources: frozenset[Any] = frozenset()


def followed(graph_module: Any) -> Channels:
    """``graph_module``: as ``layers.of`` makes it."""
    import torch

    found = Channels()
    flows: dict[Any, _Flow] = {}
    calls = Counter(node.target for node in graph_module.graph.nodes if node.op == "call_module")
    for node in graph_module.graph.nodes:
        taken = [flows[given] for given in node.all_input_nodes]
        sources = frozenset[Any]().union(*(flow.sources for flow in taken))
        reason = ""
        flows[node] = _Flow()
        if node.op == "output":
            reason = "the outputs"
        elif node.op == "call_module":
            layer = graph_module.get_submodule(node.target)
            reason = _misfit(layer, taken[0], node)
            if isinstance(layer, torch.nn.Embedding) or calls[node.target] > 1:
                found.protected[layer] = "embeddings" if calls[node.target] == 1 else "layers that are called twice"
                reason = reason or ("layers that are called twice" if calls[node.target] > 1 else "")
            flows[node] = _made(layer, taken[0], node)
        elif node.op == "call_function" and sources:
            axis = _axis_after(node, flows)
            reason = _name(node) if axis is None else ""
            flows[node] = _Flow() if axis is None else _Flow(axis, sources)
        if reason:
            for layer in sources:
                found.protected.setdefault(layer, reason)
    return found


def _made(layer: Any, taken: _Flow, node: Any) -> _Flow:
    """Norms and activations hand on what they take, other layers make channels anew."""
    import torch

    dimensions = node.meta["val"].ndim
    if isinstance(layer, (torch.nn.Linear, torch.nn.Embedding)):
        return _Flow(dimensions - 1, frozenset([layer]))
    if isinstance(layer, torch.nn.modules.conv._ConvNd):
        return _Flow(1, frozenset([layer]))
    return taken


def _misfit(layer: Any, taken: _Flow, node: Any) -> str:
    """Why the layer does not take channels one by one from where they lie."""
    import torch

    if taken.axis is None:
        return ""
    last = node.meta["val"].ndim - 1
    if isinstance(layer, torch.nn.LayerNorm):
        fits = taken.axis == last and len(layer.normalized_shape) == 1
    elif isinstance(layer, torch.nn.Linear):
        fits = taken.axis == last
    elif isinstance(layer, torch.nn.PReLU):
        fits = taken.axis == 1 or layer.num_parameters == 1
    else:
        fits = taken.axis == 1
    return "" if fits else f"a {type(layer).__name__} across channels"


def _name(node: Any) -> str:
    return str(node.target).removeprefix("aten.").split(".")[0]


def _axis_after(node: Any, flows: dict[Any, _Flow]) -> int | None:
    """Where the channels lie afterwards; None where the operator does more than to take them one by one."""
    name, shape = _name(node), shape_of(node)
    inputs = [(flows[given], shape_of(given)) for given in node.all_input_nodes]
    # Numbers that come as nodes (sizes) have no shape; one value for all channels is as good as a number.
    tensors = [(flow, sizes) for flow, sizes in inputs if sizes and not (flow.axis is None and set(sizes) == {1})]
    axes = {flow.axis for flow, _ in tensors}
    if len(axes) != 1 or None in axes or not shape:
        return None
    flow, before = tensors[0]
    axis = int(flow.axis or 0)
    if name in _ELEMENTWISE or name == "cat":
        kept = all(len(sizes) == len(shape) for _, sizes in tensors)
        if name == "cat":
            kept = kept and (node.args[1] if len(node.args) > 1 else 0) % len(shape) == axis
        else:
            kept = kept and all(sizes[axis] == shape[axis] for _, sizes in tensors)
    elif name in _SPATIAL:
        kept = axis == 1 and len(shape) == len(before) >= 3
    elif name in ("pad", "constant_pad_nd"):
        kept = axis < len(before) - len(node.args[1]) // 2
    else:
        return _moved(name, node.args, before, shape, axis)
    return axis if kept else None


def _moved(name: str, arguments: Any, before: tuple[int, ...], after: tuple[int, ...], axis: int) -> int | None:
    """Of operators that change where axes lie."""
    if name in _RESHAPING:
        return _axis_in(before, after, axis)
    if name == "mean" and len(arguments) > 1:
        gone = {dimension % len(before) for dimension in arguments[1]}
        kept = len(after) == len(before)
        return None if axis in gone else axis - (0 if kept else sum(dimension < axis for dimension in gone))
    order = list(range(len(before)))
    if name == "permute":
        order = [dimension % len(before) for dimension in arguments[1]]
    elif name == "transpose":
        first, second = (dimension % len(before) for dimension in arguments[1:3])
        order[first], order[second] = order[second], order[first]
    else:
        return None
    return order.index(axis)


def shape_of(node: Any) -> tuple[int, ...]:
    """Of what the program was exported with; empty for what is no tensor."""
    sizes = getattr(node.meta.get("val"), "shape", ())
    return tuple(size if isinstance(size, int) else int(size.node.hint) for size in sizes)


def _axis_in(before: Sequence[int], after: Sequence[int], axis: int) -> int | None:
    """The axis of a reshaped tensor that the channels fill, alone or with what lies inside of them."""
    for taken, given in grouped(before, after):
        if axis in taken:
            outside = [before[dimension] for dimension in taken if dimension < axis]
            wide = [dimension for dimension in given if after[dimension] != 1]
            return wide[0] if len(wide) == 1 and all(size == 1 for size in outside) else None
    return None


def grouped(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The smallest groups of neighbouring axes that a reshape turns into each other: ``(2, 3, 4), (2, 12)`` gives
    ``[([0], [0]), ([1, 2], [1])]``."""
    groups: list[tuple[list[int], list[int]]] = []
    first = second = 0
    while first < len(before) or second < len(after):
        taken, given = list(range(first, min(first + 1, len(before)))), list(range(second, min(second + 1, len(after))))
        while (ours := _product(before, taken)) != (theirs := _product(after, given)):
            if ours < theirs:
                taken.append(first + len(taken))
            else:
                given.append(second + len(given))
        groups.append((taken, given))
        first, second = first + len(taken), second + len(given)
    return groups


def resized(before: Sequence[int], after: Sequence[int], now: Sequence[int]) -> list[int] | None:
    """The sizes to reshape to when the input is ``now`` and was ``before``; None where there is more than one way."""
    sizes = list(after)
    for taken, given in grouped(before, after):
        if _product(before, taken) == _product(now, taken):
            continue
        wide = [axis for axis in given if after[axis] != 1]
        if len(wide) != 1:
            return None
        sizes[wide[0]] = _product(now, taken)
    return sizes


def _product(sizes: Sequence[int], axes: Sequence[int]) -> int:
    return math.prod(sizes[axis] for axis in axes)
