"""Distillation: the program as earlier transforms left it learns to answer like the original one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from farm.errors import RecipeError, RecipeSpecError
from farm.recipes.boundary import Boundary
from farm.recipes.program import Program
from farm.recipes.transforms import Applied, layers, lesson
from farm.recipes.transforms.session import Session
from farm.types import Distill

VERSION = 1
TOOLS = ("torch", "safetensors")
_SOURCE = "distillation.py"
_REMEDY = "Look at the end of the build's log; leave the distillation out if the program cannot be trained."


def apply(program: Program, transform: Distill) -> Applied:
    import torch

    if program.original is program:
        raise RecipeSpecError(
            "The distillation has nothing to repair: no transform comes before it, so the student is the teacher.",
            remedy="Put it after pruning, weight sharing or another transform of the program.",
        )
    train, loss = _own(transform.source, program.path.with_name(_SOURCE))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(transform.seed)
    exported = program.exported()
    student, teacher = _module(exported, device), _module(program.original.exported(), device)
    samples, note = program.training_samples()
    data = [tuple(tensor.to(device) for tensor in program.tensors(sample)) for sample in samples]
    session = Session(student, transform, program.checkpoint, device)
    with Boundary(RecipeError, "The distillation failed", _REMEDY), torch.enable_grad():
        if train is None:
            notes = lesson.train(student, teacher, data, session, loss=loss)
        else:
            train(student, teacher, data, session)
            notes = ("Trained by the recipe's own function.",)
    example = tuple(tensor.to(device) for tensor in program.tensors())
    made = layers.export(student.requires_grad_(False), exported, example)
    made = _moved(made, torch.device("cpu"))
    return Applied(program.trained(made), (note, *notes, *filter(None, [session.note])))


def _module(exported: Any, device: Any) -> Any:
    """As layers that can be trained: exported programs forget which of their weights that were."""
    module = layers.of(_moved(exported, device))
    lesson.free_batch(module)
    for parameter in module.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    return module


def _moved(exported: Any, device: Any) -> Any:
    from torch.export.passes import move_to_device_pass

    return exported if device.type == "cpu" else move_to_device_pass(exported, device)


def _own(source: str, path: Path) -> tuple[Callable[..., Any] | None, lesson.Loss | None]:
    """``train`` and ``loss`` of the recipe's source. Raises RecipeSpecError with the line that is wrong."""
    if not source:
        return None, None
    path.write_text(source)
    try:
        code = compile(source, str(path), "exec")
    except SyntaxError as error:
        raise RecipeSpecError(
            f"The distillation's source is no Python: {error.msg} in line {error.lineno}.", remedy="Correct it."
        ) from error
    names: dict[str, Any] = {"__name__": "distillation"}
    with Boundary(RecipeSpecError, "The distillation's source does not run", "Correct it."):
        exec(code, names)  # noqa: S102 - in the confined child, as every program of a user
    train, loss = names.get("train"), names.get("loss")
    if not callable(train) and not callable(loss):
        raise RecipeSpecError(
            "The distillation's source defines neither train(student, teacher, data, session) nor "
            "loss(student_outputs, teacher_outputs).",
            remedy="Define one of them.",
        )
    return (train, None) if callable(train) else (None, loss)
