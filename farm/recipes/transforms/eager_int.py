"""Quantization of the PyTorch program itself, for PyTorch's own runtimes: linear layers dynamically or weights alone,
and static int8 with the quantizer that TorchInductor has for x86.

Static int8 of FX graph mode is left out: it converts EfficientNet-Lite0 without complaint to cosine 0.008 - 0.79.
"""

from __future__ import annotations

import platform
from typing import Any

from farm.errors import RecipeError, RecipeSpecError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.transforms import Applied, pt2e
from farm.types import Quantize

VERSION = 1
TOOLS = ("torch",)

_REMEDY = "Look at the end of the build's log; use the fp32 recipe if the model cannot be quantized."


def apply(program: Program, transform: Quantize) -> Applied:
    from farm.recipes.transforms import integer_linear as linear

    kinds = {
        ("int8", "dynamic"): linear.Dynamic8,
        ("int8", "weight-only"): linear.WeightOnly8,
        ("int4", "weight-only"): linear.WeightOnly4,
    }
    kind = kinds.get((transform.dtype, transform.mode))
    if kind is None:
        raise RecipeSpecError(
            f"A PyTorch program cannot be made {transform.label}.",
            remedy="Take int8 dynamic, int8 or int4 weight-only, or a runtime with a quantizer of its own.",
        )
    with Boundary(RecipeError, "Quantization failed", _REMEDY):
        module = program.module()
        layers = [node for node in module.graph.nodes if _is_layer(module, node)]
        able = [node for node in layers if kind is not linear.WeightOnly4 or _inputs(module, node) % linear.GROUP == 0]
        if not able:
            why = f"inputs of its linear layers are no multiple of {linear.GROUP}" if layers else "has no linear layers"
            raise RecipeSpecError(
                f"{transform.label} would quantize nothing: the model {why}.",
                remedy="Take static int8, which quantizes convolutions too, or a runtime with a quantizer of its own.",
            )
        weights = sum(_value(module, node.args[1]).numel() for node in able)
        total = sum(parameter.numel() for parameter in module.parameters())
        for number, node in enumerate(able):
            _replace(module, node, kind, f"quantized_linear_{number}")
        exported = program.export(_without_unread(module))
    left = f" {len(layers) - len(able)} linear layers stay as they were." if len(able) < len(layers) else ""
    note = f"{transform.label}: {len(able)} linear layers with {weights:,} of {total:,} parameters.{left}"
    return Applied(program.replaced(exported), (note,))


def static(program: Program) -> pt2e.Quantized:
    """With quantize and dequantize operators that TorchInductor fuses into int8 kernels. Raises RecipeError."""
    if platform.machine() not in ("x86_64", "AMD64"):
        raise RecipeError(
            f"TorchInductor has static int8 kernels for x86 only, not for {platform.machine()}.",
            remedy="Take another runtime for static int8.",
        )
    calibration, note = program.calibration_samples()
    with Boundary(RecipeError, "Quantization (PT2E) failed", _REMEDY):
        from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

        quantizer = x86.X86InductorQuantizer()
        quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
        exported = program.exported()
        _name_sources(exported.graph)
    samples = [program.tensors(sample) for sample in calibration]
    quantized = pt2e.quantize(exported, samples, lambda module: program.export(_without_unread(module)), quantizer)
    layers = [
        node for node in quantized.program.graph.nodes if "conv" in _operator(node) or "linear" in _operator(node)
    ]
    able = [node for node in layers if "dequantize" in _operator(node.args[1])]
    if not able:
        raise RecipeSpecError(
            "Static int8 would quantize nothing: Inductor's quantizer takes none of the model's layers.",
            remedy="It knows 2-d convolutions and linear layers; leave the transform out for this model.",
        )
    counted = f"{len(able)} of {len(layers)} convolutions and linear layers in int8."
    return pt2e.Quantized(quantized.program, (note, counted, *quantized.notes))


def _name_sources(graph: Any) -> None:
    """The quantizer finds layers by the class of module that they come of, which is lost where users derive classes of
    their own, call functions, or export again: each operator is said to come of PyTorch's own module for it."""
    import operator

    import torch

    aten, nn = torch.ops.aten, torch.nn
    sources = {
        aten.conv2d.default: nn.Conv2d,
        aten.batch_norm.default: nn.BatchNorm2d,
        aten.linear.default: nn.Linear,
        aten.relu.default: nn.ReLU,
        aten.relu_.default: nn.ReLU,
        aten.hardtanh.default: nn.Hardtanh,
        aten.hardtanh_.default: nn.Hardtanh,
        aten.hardswish.default: nn.Hardswish,
        aten.hardswish_.default: nn.Hardswish,
        aten.silu.default: nn.SiLU,
        aten.silu_.default: nn.SiLU,
        aten.add.Tensor: operator.add,
        aten.add_.Tensor: operator.add,
    }
    for node in graph.nodes:
        if node.target in sources:
            node.meta["source_fn_stack"] = [(node.name, sources[node.target])]


def _operator(node: Any) -> str:
    return str(node.target) if node.op == "call_function" else ""


def _is_layer(module: Any, node: Any) -> bool:
    import torch

    if node.op != "call_function" or node.target != torch.ops.aten.linear.default:
        return False
    weight, bias = node.args[1], node.args[2] if len(node.args) > 2 else None
    plain = all(part.op == "get_attr" for part in (weight, bias) if part is not None)
    return plain and _value(module, weight).ndim == 2 and _value(module, weight).is_floating_point()


def _inputs(module: Any, node: Any) -> int:
    return int(_value(module, node.args[1]).shape[1])


def _replace(module: Any, node: Any, kind: Any, name: str) -> None:
    bias = node.args[2] if len(node.args) > 2 else None
    values = [None if part is None else _value(module, part) for part in (node.args[1], bias)]
    module.add_submodule(name, kind(*(None if value is None else value.detach().clone() for value in values)))
    with module.graph.inserting_before(node):
        call = module.graph.call_module(name, (node.args[0],))
    node.replace_all_uses_with(call)
    module.graph.erase_node(node)


def _without_unread(module: Any) -> Any:
    """Without the weights that nothing reads any more: they would be saved beside those that took their place."""
    for node in [node for node in module.graph.nodes if node.op == "get_attr" and not node.users]:
        module.graph.erase_node(node)
    module.recompile()
    read = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    calls = tuple(f"{node.target}." for node in module.graph.nodes if node.op == "call_module")
    for name in [name for name, _ in (*module.named_parameters(), *module.named_buffers())]:
        if name not in read and not name.startswith(calls):
            owner, _, tensor = name.rpartition(".")
            delattr(module.get_submodule(owner), tensor)
    return module


def _value(module: Any, node: Any) -> Any:
    """The tensor that a ``get_attr`` node reads."""
    owner, _, name = node.target.rpartition(".")
    return getattr(module.get_submodule(owner), name)
