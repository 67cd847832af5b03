"""How large a program is, as it is handed to its runtime: parameters and operations. Used in the child process only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from farm.errors import FarmError, RecipeError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.types import ModelFormat

# Operators of these do no arithmetic that torch counts, or torch counts it.
_COUNTED = ("aten", "prim", "prims", "quantized_decomposed")
# What a product of torch's own is called; of one that torch has no formula for, nothing is known.
_PRODUCT = re.compile(r"mm(\W|_|$)|matmul|convolution|attention")
# Their first operand is [rows, inner], the last dimension of their answer the columns.
_INTEGER_PRODUCTS = ("_int_mm", "_weight_int8pack_mm", "_weight_int4pack_mm", "_weight_int4pack_mm_for_cpu")
_CPU_ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"


@dataclass(frozen=True)
class Complexity:
    """``flops``: floating-point operations of one inference on the example inputs; a multiply-accumulate counts as two.

    What torch.utils.flop_counter counts: convolutions, matrix products and attention, which is nearly all there is;
    products of integers, which quantized programs have in their place, count the same. Of a program with operators of
    other libraries it is absent: torch has no formula for them. ``parameters`` are elements, pruned ones included;
    weights that several layers share count once. Where they were frozen into the program, its floating-point constants
    count.
    """

    parameters: int | None = None
    flops: int | None = None
    notes: tuple[str, ...] = ()


def measure(program: Program) -> Complexity:
    """Never fails: what cannot be counted is absent, with the reason as a note."""
    if program.spec.format == ModelFormat.ONNX:
        return Complexity(notes=("Parameters and FLOPs are not counted: the upload is no PyTorch program.",))
    try:
        return _measured(program)
    except FarmError as error:
        return Complexity(notes=(f"Parameters and FLOPs are not counted: {error.message}",))


def parameters(exported: Any) -> int:
    """Of a ``torch.export.ExportedProgram``."""
    return _elements(exported.parameters()) or _elements(_floating(exported.constants.values()))


def _measured(program: Program) -> Complexity:
    scripted = program.spec.format == ModelFormat.TORCHSCRIPT
    module = program.script() if scripted else program.module()
    with Boundary(RecipeError, "its weights cannot be counted", ""):
        count = _scripted_parameters(module) if scripted else parameters(program.exported())
    flops, foreign = _shapes_alone(module, program) if not scripted else _computing(module, program)
    if foreign:
        return Complexity(count, None, (f"FLOPs are not counted: torch has no formula for {', '.join(foreign)}.",))
    return Complexity(count, flops)


def _shapes_alone(module: Any, program: Program) -> tuple[int, list[str]]:
    """From shapes, without computing anything; by a run where shapes depend on values."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    try:
        with Boundary(RecipeError, "", ""), FakeTensorMode(allow_non_fake_inputs=True) as fake:
            return _operations(module, tuple(map(fake.from_tensor, program.tensors())))
    except RecipeError:
        return _computing(module, program)


def _computing(module: Any, program: Program) -> tuple[int, list[str]]:
    with Boundary(RecipeError, "the program does not run on the example inputs", ""):
        return _operations(module, program.tensors())


def _scripted_parameters(script: Any) -> int:
    """Of a frozen one, whose weights are constants of its graph, the floating-point constants."""
    graph = getattr(script, "inlined_graph", None)  # its nodes live as long as it does
    nodes = graph.findAllNodes("prim::Constant") if graph is not None else ()
    held = [node for node in nodes if "value" in node.attributeNames() and node.kindOf("value") == "t"]
    return _elements(script.parameters()) or _elements(_floating(node.t("value") for node in held))


def _floating(values: Iterable[Any]) -> Iterable[Any]:
    return [value for value in values if hasattr(value, "is_floating_point") and value.is_floating_point()]


def _elements(tensors: Iterable[Any]) -> int:
    return sum({(tensor.data_ptr(), tuple(tensor.shape)): tensor.numel() for tensor in tensors}.values())


def _operations(module: Any, inputs: tuple[Any, ...]) -> tuple[int, list[str]]:
    """FLOPs of a run, and the operators in it that they leave out."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import FlopCounterMode, flop_registry

    foreign: set[str] = set()
    formulas: dict[Any, Callable[..., int]] = {getattr(torch.ops.aten, name): _product for name in _INTEGER_PRODUCTS}
    formulas[getattr(torch.ops.aten, _CPU_ATTENTION)] = _attention
    known = {*flop_registry, *formulas}

    class Foreign(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            uncounted = func.overloadpacket not in known and _PRODUCT.search(func.name())
            if func.namespace not in _COUNTED or uncounted:
                foreign.add(func.name())
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=formulas) as counter, Foreign():
        module(*inputs)
    return counter.get_total_flops(), sorted(foreign)


def _product(left: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    rows, inner = left
    return 2 * int(rows) * int(inner) * int(out_shape[-1])


def _attention(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """Of shapes [batch, heads, tokens, size]."""
    from torch.utils.flop_counter import sdpa_flop_count

    return int(sdpa_flop_count(query, key, value))
