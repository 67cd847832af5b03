"""Several programs become one: one after the other, or side by side."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from farm.errors import ModelError
from farm.recipes.boundary import Boundary
from farm.types import FusionKind

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def fused(modules: Sequence[Any], how: FusionKind = "sequence", *, input_counts: Sequence[int] = ()) -> Any:
    """One ``nn.Module`` of several, in eval mode; it returns a tensor, or a flat tuple of tensors.

    ``sequence``: the outputs of each are the inputs of the next, in flattened order. ``parallel``: each takes its own
    inputs, which come one after the other (how many each takes: ``input_counts``, or what its ``forward`` demands).
    ``parallel-shared``: each takes all inputs. The outputs of parallel ones come one after the other.
    """
    import torch
    from torch.utils._pytree import tree_leaves

    counts = list(input_counts) or [_demanded(module) for module in modules if how == "parallel"]
    if how == "parallel" and len(counts) != len(modules):
        raise ModelError(
            f"{len(counts)} input_counts were given for {len(modules)} modules.", remedy="Give one for each module."
        )

    class Fused(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleList(modules)
            for part in self.modules():
                part.training = False  # an exported module has no eval()

        def forward(self, *inputs: Any) -> Any:
            values = list(inputs)
            if how == "sequence":
                for part in self.parts:
                    values = tree_leaves(part(*values))
            else:
                taken = _split(values, counts) if how == "parallel" else [values] * len(self.parts)
                values = [leaf for part, own in zip(self.parts, taken, strict=True) for leaf in tree_leaves(part(*own))]
            return values[0] if len(values) == 1 else tuple(values)

    return Fused()


def exported(parts: Sequence[tuple[str, Any]], how: FusionKind, inputs: tuple[Any, ...]) -> Any:
    """The ``ExportedProgram`` of named ones, for these inputs. Raises ModelError naming where two do not fit."""
    import torch

    programs = [program for _, program in parts]
    counts = [len(program.graph_signature.user_inputs) for program in programs]
    if how == "sequence":
        _check_links(parts, inputs)
    whole = fused([program.module() for program in programs], how, input_counts=counts)
    remedy = "Check that each of the models runs on what it is given; fuse the nn.Modules yourself if they do."
    with Boundary(ModelError, "The fused program cannot be exported", remedy), torch.no_grad():
        taking = programs if how == "parallel" else programs[:1]
        sizes = tuple(shape for program in taking for shape in _free_sizes(program))
        return torch.export.export(whole, inputs, dynamic_shapes={"inputs": sizes}, strict=False)


def _demanded(module: Any) -> int:
    """How many inputs its ``forward`` cannot do without."""
    parameters = inspect.signature(module.forward).parameters.values()
    return sum(each.kind in _POSITIONAL and each.default is each.empty for each in parameters)


def _split(values: Sequence[Any], counts: Sequence[int]) -> Iterator[Sequence[Any]]:
    start = 0
    for count in counts:
        yield values[start : start + count]
        start += count


def _free_sizes(program: Any) -> Iterator[dict[int, Any]]:
    """Per input, the dimensions that the program takes in any size: the fused one keeps those that it can."""
    import torch

    for value in _inputs(program):
        yield {n: torch.export.Dim.AUTO for n, size in enumerate(value.shape) if not isinstance(size, int)}


def _check_links(parts: Sequence[tuple[str, Any]], inputs: tuple[Any, ...]) -> None:
    import torch
    from torch.utils._pytree import tree_leaves

    given, giver = list(inputs), "the example inputs"
    for name, program in parts:
        taken = list(_inputs(program))
        differs = len(given) != len(taken) or not all(map(_fits, given, taken))
        if differs:
            raise ModelError(
                f"{name} cannot follow {giver}: it takes ({_listed(taken)}) and is given ({_listed(given)}).",
                remedy="Fuse models whose outputs, flattened, are the inputs of the next.",
            )
        with Boundary(ModelError, f"{name} does not run on what it is given", "Run it alone."), torch.inference_mode():
            given, giver = tree_leaves(program.module()(*given)), name


def _inputs(program: Any) -> Iterator[Any]:
    """Fake tensors that stand for the inputs, in order."""
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    return (values[name] for name in program.graph_signature.user_inputs)


def _fits(given: Any, taken: Any) -> bool:
    sizes = zip(given.shape, taken.shape, strict=False)
    same = all(not isinstance(free, int) or size == free for size, free in sizes)
    return len(given.shape) == len(taken.shape) and same and given.dtype == taken.dtype


def _listed(tensors: Sequence[Any]) -> str:
    return ", ".join(
        f"{str(tensor.dtype).removeprefix('torch.')}[{', '.join(map(str, tensor.shape))}]" for tensor in tensors
    )
