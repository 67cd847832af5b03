"""Which layer of ``torch.nn`` a call of an aten operator is, and how to make an empty one of its size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

STATE = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Layer:
    """One call in a graph that a layer can stand for. ``tensors``: the nodes of those it holds, by their names in
    the layer; ``settings`` are equal for equal layers; ``make``: an empty layer on the meta device."""

    tensors: dict[str, Any]
    settings: tuple[Any, ...]
    make: Callable[[], Any]


@dataclass(frozen=True)
class _Sizes:
    """Shapes of the tensors that a layer holds, by name, and the number of its input's dimensions."""

    of: dict[str, tuple[int, ...]]
    input_dimensions: int

    def __contains__(self, name: str) -> bool:
        return name in self.of

    @property
    def weight(self) -> tuple[int, ...]:
        return self.of["weight"]


_Maker = Callable[[dict[str, Any], _Sizes], Callable[[], Any] | None]


def layer_of(node: Any, held: Mapping[Any, Any]) -> Layer | None:
    """``held``: tensors by the nodes that get them. None for a call that is no layer: another operator, or one whose
    weights are computed or are no parameters."""
    import torch

    make = _makers().get(node.target) if node.op == "call_function" else None
    if make is None:
        return None
    arguments = _bound(node)
    given = {name: arguments.pop(name, None) for name in STATE}
    tensors = {name: tensor for name, tensor in given.items() if tensor is not None}
    inputs = [value for value in arguments.values() if isinstance(value, torch.fx.Node)]
    if len(inputs) != 1 or any(tensor not in held for tensor in tensors.values()):
        return None
    if any(not isinstance(held[tensors[name]], torch.nn.Parameter) for name in tensors if name in ("weight", "bias")):
        return None
    sizes = _Sizes({name: tuple(held[tensor].shape) for name, tensor in tensors.items()}, inputs[0].meta["val"].ndim)
    made = make(arguments, sizes)
    settings = tuple((name, str(value)) for name, value in arguments.items() if value is not inputs[0])
    return None if made is None else Layer(tensors, (node.target, settings), made)


def _makers() -> dict[Any, _Maker]:
    import torch

    aten = torch.ops.aten
    return {
        **{operator: _convolution for name in ("conv1d", "conv2d", "conv3d") for operator in _overloads(name)},
        aten.convolution.default: _convolution,
        aten.conv_transpose1d.default: _transposed,
        aten.conv_transpose2d.input: _transposed,
        aten.conv_transpose3d.input: _transposed,
        aten.linear.default: _linear,
        aten.batch_norm.default: _batch_norm,
        aten.layer_norm.default: _layer_norm,
        aten.group_norm.default: _group_norm,
        aten.embedding.default: _embedding,
        aten.prelu.default: _prelu,
    }


def _overloads(name: str) -> tuple[Any, Any]:
    import torch

    operator = getattr(torch.ops.aten, name)
    return operator.default, operator.padding


def _bound(node: Any) -> dict[str, Any]:
    """All arguments of a call by name, with the operator's defaults."""
    arguments = {}
    for position, argument in enumerate(node.target._schema.arguments):
        if position < len(node.args):
            arguments[argument.name] = node.args[position]
        else:
            arguments[argument.name] = node.kwargs.get(argument.name, argument.default_value)
    return arguments


def _convolution(arguments: dict[str, Any], sizes: _Sizes) -> Callable[[], Any]:
    import torch

    if arguments.get("transposed"):
        return _transposed(arguments, sizes)
    outputs, inputs, *kernel = sizes.weight
    kind = getattr(torch.nn, f"Conv{len(kernel)}d")
    padding = arguments["padding"]
    return lambda: kind(
        inputs * arguments["groups"],
        outputs,
        tuple(kernel),
        stride=_per_axis(arguments["stride"], kernel),
        padding=padding if isinstance(padding, str) else _per_axis(padding, kernel),
        dilation=_per_axis(arguments["dilation"], kernel),
        groups=arguments["groups"],
        bias="bias" in sizes,
        device="meta",
    )


def _transposed(arguments: dict[str, Any], sizes: _Sizes) -> Callable[[], Any]:
    import torch

    inputs, outputs, *kernel = sizes.weight
    kind = getattr(torch.nn, f"ConvTranspose{len(kernel)}d")
    return lambda: kind(
        inputs,
        outputs * arguments["groups"],
        tuple(kernel),
        **{name: _per_axis(arguments[name], kernel) for name in ("stride", "padding", "output_padding", "dilation")},
        groups=arguments["groups"],
        bias="bias" in sizes,
        device="meta",
    )


def _per_axis(value: Any, kernel: list[int]) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return values * len(kernel) if len(values) == 1 else values


def _linear(arguments: dict[str, Any], sizes: _Sizes) -> Callable[[], Any] | None:
    import torch

    outputs, inputs = sizes.weight
    return lambda: torch.nn.Linear(inputs, outputs, bias="bias" in sizes, device="meta")


def _batch_norm(arguments: dict[str, Any], sizes: _Sizes) -> Callable[[], Any] | None:
    """Of one that was exported in training mode, or keeps no statistics, there is no layer."""
    import torch

    affine = "weight" in sizes and "bias" in sizes
    plain = affine or not ("weight" in sizes or "bias" in sizes)
    if arguments["training"] or "running_mean" not in sizes or not plain:
        return None
    norms = {4: torch.nn.BatchNorm2d, 5: torch.nn.BatchNorm3d}
    kind = norms.get(sizes.input_dimensions, torch.nn.BatchNorm1d)
    (channels,) = sizes.of["running_mean"]
    settings = {"eps": arguments["eps"], "momentum": arguments["momentum"]}
    return lambda: kind(channels, affine=affine, device="meta", **settings)


def _layer_norm(arguments: dict[str, Any], sizes: _Sizes) -> Callable[[], Any] | None:
    import torch

    if "bias" in sizes and "weight" not in sizes:
        return None
    shape = tuple(arguments["normalized_shape"])
    affine = {"elementwise_affine": "weight" in sizes, "bias": "bias" in sizes}
    return lambda: torch.nn.LayerNorm(shape, eps=arguments["eps"], device="meta", **affine)


def _group_norm(arguments: dict[str, Any], sizes: _Sizes) -> Callable[[], Any] | None:
    import torch

    if "weight" not in sizes or "bias" not in sizes:
        return None
    return lambda: torch.nn.GroupNorm(arguments["num_groups"], *sizes.weight, eps=arguments["eps"], device="meta")


def _embedding(arguments: dict[str, Any], sizes: _Sizes) -> Callable[[], Any] | None:
    import torch

    padding = arguments["padding_idx"]
    padding = None if padding < 0 else padding
    return lambda: torch.nn.Embedding(*sizes.weight, padding_idx=padding, device="meta")


def _prelu(arguments: dict[str, Any], sizes: _Sizes) -> Callable[[], Any] | None:
    import torch

    (count,) = sizes.weight
    return lambda: torch.nn.PReLU(count, device="meta")
