"""Not a runtime: what the program itself answers to the parity inputs, to compare every artifact with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from farm.errors import ModelError
from farm.recipes import samples
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes.built import Built, Values
from farm.recipes.samples import Sample
from farm.types import ModelFormat, Recipe

FILES = ("reference.npz",)
VERSION = 1
TOOLS = ("torch",)
EXTRA = "torch"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT, ModelFormat.ONNX)
TOOLS_FOR: dict[str, tuple[str, ...]] = {}
NATIVE: tuple[str, ...] = ()
REFUSES: dict[str, str] = {}
OPTIONS: dict[str, Values] = {}
PRESETS: tuple[tuple[Recipe, str], ...] = ()

_REMEDY = "Check that the program runs on every parity input where it was saved."


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    path = folder / FILES[0]
    if program.spec.format == ModelFormat.ONNX:
        samples.write(path, _onnx_outputs(program))
        return Built(("The reference is the ONNX model in ONNX Runtime.",))
    import torch

    module = program.script() if program.spec.format == ModelFormat.TORCHSCRIPT else program.module()
    with Boundary(ModelError, "The program does not run on the parity inputs", _REMEDY), torch.inference_mode():
        outputs = [flatten(module(*program.tensors(sample))) for sample in program.parity]
    samples.write(path, outputs)
    return Built()


def flatten(outputs: Any) -> Sample:
    """Outputs of a torch module as arrays in flattened pytree order. Raises ModelError for other than tensors."""
    import torch
    from torch.utils._pytree import tree_leaves

    leaves = tree_leaves(outputs)
    for position, leaf in enumerate(leaves):
        if not isinstance(leaf, torch.Tensor):
            raise ModelError(
                f"Output {position} of the model is a {type(leaf).__name__}, not a tensor.",
                remedy="Return tensors only (in tuples, lists or dicts).",
            )
    return tuple(leaf.detach().cpu().numpy() for leaf in leaves)


def _onnx_outputs(program: Program) -> list[Sample]:
    path = program.onnx()
    with Boundary(ModelError, "The ONNX model does not run on the parity inputs", _REMEDY):
        session = program.session(path)
        names = [node.name for node in session.get_inputs()]
        return [tuple(session.run(None, dict(zip(names, sample, strict=True)))) for sample in program.parity]
