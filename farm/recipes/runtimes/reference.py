"""Not a runtime: what the program itself answers to the parity inputs and to the labelled set.

Every artifact is compared with it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from farm.errors import ModelError
from farm.recipes import samples
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.runtimes.built import Built, Values
from farm.recipes.samples import Sample
from farm.types import ModelFormat, ModelSpec, Recipe

FILES = ("reference.npz",)
EVALUATION_FILE = "evaluation.npz"
VERSION = 1
TOOLS = ("torch",)
EXTRA = "torch"
ACCEPTS = (ModelFormat.PT2, ModelFormat.TORCHSCRIPT, ModelFormat.ONNX)
TOOLS_FOR: dict[str, tuple[str, ...]] = {}
NATIVE: tuple[str, ...] = ()
REFUSES: dict[str, str] = {}
OPTIONS: dict[str, Values] = {}
PRESETS: tuple[tuple[Recipe, str], ...] = ()

_REMEDY = "Check that the program runs on every parity and evaluation input where it was saved."


def files(spec: ModelSpec) -> tuple[str, ...]:
    """Of the artifact: the second one where the upload has a labelled set."""
    return (*FILES, EVALUATION_FILE) if spec.evaluation else FILES


def build(program: Program, recipe: Recipe, folder: Path) -> Built:
    asked = {FILES[0]: program.parity}
    if program.spec.evaluation:
        asked[EVALUATION_FILE] = program.evaluation_samples()
    if program.spec.format == ModelFormat.ONNX:
        answer = _onnx(program)
        notes: tuple[str, ...] = ("The reference is the ONNX model in ONNX Runtime.",)
    else:
        answer, notes = _torch(program), ()
    for name, inputs in asked.items():
        with Boundary(ModelError, "The program does not run on its inputs", _REMEDY):
            samples.write(folder / name, [answer(sample) for sample in inputs])
    return Built(notes)


def _torch(program: Program) -> Callable[[Sample], Sample]:
    import torch

    module = program.script() if program.spec.format == ModelFormat.TORCHSCRIPT else program.module()

    def answer(sample: Sample) -> Sample:
        with torch.inference_mode():
            return flatten(module(*program.tensors(sample)))

    return answer


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


def _onnx(program: Program) -> Callable[[Sample], Sample]:
    path = program.onnx()
    with Boundary(ModelError, "ONNX Runtime does not load the model", _REMEDY):
        session = program.session(path)
    names = [node.name for node in session.get_inputs()]
    return lambda sample: tuple(session.run(None, dict(zip(names, sample, strict=True))))
