"""Batches: one inference takes several samples, a number fixed when the artifact is built, or any up to a largest."""

from __future__ import annotations

from farm.errors import RecipeError
from farm.recipes import shapes
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.transforms import Applied
from farm.types import Batch, DynamicBatch

VERSION = 1
TOOLS = ("torch",)

_REMEDY = "Look at the end of the build's log; the model may answer differently for one sample than for several."


def apply(program: Program, transform: Batch | DynamicBatch) -> Applied:
    uploaded = program.for_any_batch()
    with Boundary(RecipeError, "torch.export cannot export the program for this batch", _REMEDY):
        if isinstance(transform, Batch):
            stacked = program.stacked(transform.size)
            return Applied(stacked.replaced(shapes.fixed(uploaded, stacked.tensors())))
        module = uploaded.module(check_guards=False)
        exported = shapes.any_batch(module, program.tensors(), transform.max_size)
    return Applied(program.replaced(exported))
