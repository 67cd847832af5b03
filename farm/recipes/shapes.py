"""Programs that take a batch of any size (the first dimension of every input), and the same for one size.

torch.export takes a size of 1 for a constant, so such a program is traced with two samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from farm.errors import ModelError
from farm.recipes.samples import Sample
from farm.types import TensorSpec

MAX_BATCH = 1024  # of an upload


def any_batch(module: Any, sample: tuple[Any, ...], largest: int = MAX_BATCH) -> Any:
    """``module`` as an ``ExportedProgram`` for batches of 1 to ``largest``; ``sample`` has 1 in every first dimension.

    Raises what torch.export raises, for example where the module's code fixes the size.
    """
    import torch

    doubled = tuple(torch.cat([tensor, tensor]) for tensor in sample)
    shapes = torch.export.ShapesCollection()
    batch = torch.export.Dim("batch", min=1, max=largest)
    for tensor in doubled:
        shapes[tensor] = {0: batch}
    return torch.export.export(module, doubled, strict=False, dynamic_shapes=shapes)


def fixed(exported: Any, sample: tuple[Any, ...]) -> Any:
    """A program with symbolic sizes for the sizes of ``sample`` alone."""
    import torch

    return torch.export.export(exported.module(check_guards=False), sample, strict=False)


def is_symbolic(exported: Any) -> bool:
    return any(not isinstance(size, int) for shape in _input_shapes(exported) for size in shape)


def takes_any_batch(exported: Any) -> bool:
    """Whether all inputs share one symbolic first dimension, which is their only one."""
    shapes = _input_shapes(exported)
    first = {str(shape[0]) if shape else "" for shape in shapes}
    rest = (size for shape in shapes for size in shape[1:])
    symbolic = all(shape and not isinstance(shape[0], int) for shape in shapes)
    return symbolic and len(first) == 1 and all(isinstance(size, int) for size in rest)


def inputs(exported: Any) -> list[tuple[str, list[int | None], str]]:
    """Name, shape (None: any size) and type of each input tensor."""
    users = set(exported.graph_signature.user_inputs)
    nodes = [node for node in exported.graph.nodes if node.op == "placeholder" and node.name in users]
    return [
        (
            node.name,
            [size if isinstance(size, int) else None for size in node.meta["val"].shape],
            str(node.meta["val"].dtype).removeprefix("torch."),
        )
        for node in nodes
    ]


def _input_shapes(exported: Any) -> list[tuple[Any, ...]]:
    users = set(exported.graph_signature.user_inputs)
    values = [node.meta["val"] for node in exported.graph.nodes if node.op == "placeholder" and node.name in users]
    return [tuple(value.shape) for value in values if hasattr(value, "shape")]


def check_samples(inputs: Sequence[TensorSpec]) -> None:
    """Raises ModelError where a sample of a model for any batch holds more than one."""
    for spec in inputs:
        if spec.shape[:1] != (1,):
            raise ModelError(
                f"With dynamic_batch=True a sample has 1 as the first dimension of every input, but {spec}.",
                remedy="Give inputs that hold one sample each, or leave dynamic_batch out.",
            )


def check_outputs(of_one: Sample, of_three: Sample) -> None:
    """Of a model for any batch. Raises ModelError where a batch of three does not come out as three."""
    for position, (one, three) in enumerate(zip(of_one, of_three, strict=True)):
        if one.shape[:1] != (1,) or three.shape != (3, *one.shape[1:]):
            raise ModelError(
                f"Output {position} has the shape {list(one.shape)} for one sample and {list(three.shape)} for three: "
                "its first dimension is no batch.",
                remedy="Return the batch as the first dimension of every output, or leave dynamic_batch out.",
            )
