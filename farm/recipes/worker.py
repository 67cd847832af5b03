"""The child process of a build: ``python -P -m farm.recipes.worker ORDER.json``, in the build's own folder.

It confines itself, builds, and leaves ``outcome.json``. Foreign code runs here and nowhere else.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from pydantic import Field

from farm.errors import FarmError, RecipeError
from farm.recipes import sandbox
from farm.recipes.boundary import FULL_DISK, disk_full, reason
from farm.types import Delegation, Failure, Frozen, LineageStep, ModelFormat, ModelSpec, Recipe, Transform

if TYPE_CHECKING:
    from farm.recipes.program import Program

ORDER = "order.json"
OUTCOME = "outcome.json"
OUTPUT = "output"
STEP = "farm: "  # begins the lines of the log in which this process says what it does next


class Order(Frozen):
    """What the child has to know: nothing of the store, no secrets."""

    model: ModelSpec
    recipe: Recipe
    memory_bytes: int = Field(gt=0)
    parent: int
    readable: tuple[Path, ...] = ()  # folders of SDKs and toolchains
    gpu: bool = False


class Outcome(Frozen):
    """What the child has to say."""

    notes: tuple[str, ...] = ()
    lineage: tuple[LineageStep, ...] = ()
    parameters: int | None = None
    flops: int | None = None
    delegation: Delegation | None = None
    failure: Failure | None = None
    network_isolated: bool = False
    peak_rss_bytes: int = 0


class Report:
    """Writes the outcome whatever happens inside: this is the edge of the process, errors go no further."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.outcome = Outcome()

    def __enter__(self) -> Report:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        failure = None
        if error is not None:
            traceback.print_exception(error)
            failure = Failure.of(_ours(error))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self.outcome = self.outcome.model_copy(update={"failure": failure, "peak_rss_bytes": peak})
        self._path.write_text(self.outcome.model_dump_json())
        return True


def _ours(error: BaseException) -> FarmError:
    if isinstance(error, FarmError):
        return error
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        return disk_full("The build was not written")
    if isinstance(error, MemoryError):
        return RecipeError(
            "The build ran out of the memory that it may use.", remedy="Have the operator raise build_memory_bytes."
        )
    return RecipeError(f"The build failed: {reason(error)}", remedy="Look at the end of the build's log.")


def build(order: Order, folder: Path) -> Outcome:
    """Build into ``folder / output``. Raises ModelError, RecipeError, or what a converter let through."""
    from farm.recipes import complexity, specification
    from farm.recipes.program import Program
    from farm.recipes.runtimes import BUILDERS

    on_program, native = specification.divided(order.recipe)
    program, lineage = Program(order.model, folder), []
    if order.model.format == ModelFormat.CAFFE2:
        program, step = _translate(program)
        lineage.append(step)
    for transform in on_program:
        program, step = _apply(program, transform)
        lineage.append(step)
    _check_batch(program, on_program)
    counted = complexity.measure(program)
    output = folder / OUTPUT
    output.mkdir()
    recipe = order.recipe.model_copy(update={"transforms": native})
    label = "-".join([recipe.runtime, *(transform.label for transform in native)])
    _say(label)
    started = time.monotonic()
    built = BUILDERS[recipe.runtime].build(program, recipe, output)
    lineage.append(
        LineageStep(
            label=label,
            seconds=time.monotonic() - started,
            notes=built.notes,
        )
    )
    notes = tuple(note for step in lineage for note in step.notes)
    return Outcome(
        notes=(*notes, *counted.notes),
        lineage=tuple(lineage),
        parameters=counted.parameters,
        flops=counted.flops,
        delegation=built.delegation,
    )


def _check_batch(program: Program, on_program: tuple[Transform, ...]) -> None:
    """A transform that fixes the shapes again would make an artifact that takes less than its recipe says."""
    from farm.recipes import shapes

    if any(transform.kind == "dynamic-batch" for transform in on_program) and not shapes.is_symbolic(
        program.exported()
    ):
        raise RecipeError(
            f"After {on_program[-1].label} the program takes one size only.",
            remedy="Take batch in place of dynamic-batch, or leave the other transform out.",
        )


def _say(step: str) -> None:
    """In the log: what is done next. Who reads it sees how far a build is, and messages say how far one came."""
    print(f"{STEP}{step}", flush=True)  # noqa: T201 - the log is this process's output


def _translate(program: Program) -> tuple[Program, LineageStep]:
    from farm.recipes import caffe2

    _say(caffe2.LABEL)
    started = time.monotonic()
    translated = program.translated(caffe2.to_onnx(program))
    return translated, LineageStep(label=caffe2.LABEL, seconds=time.monotonic() - started, notes=(caffe2.NOTE,))


def _apply(program: Program, transform: Transform) -> tuple[Program, LineageStep]:
    from farm.recipes import complexity, transforms

    _say(transform.label)
    started = time.monotonic()
    applied = transforms.find(transform).apply(program, transform)
    step = LineageStep(
        label=transform.label,
        seconds=time.monotonic() - started,
        notes=applied.notes,
        parameters=complexity.parameters(applied.program.exported()),
    )
    return applied.program, step


def main(folder: Path) -> None:
    order = Order.model_validate(json.loads((folder / ORDER).read_text()))
    isolation = sandbox.enter(
        folder,
        parent=order.parent,
        memory_bytes=order.memory_bytes,
        gpu=order.gpu,
        readable=order.readable,
    )
    with Report(folder / OUTCOME) as report:
        report.outcome = Outcome(network_isolated=isolation.network)
        made = build(order, folder)
        notes = made.notes if isolation.files else (*made.notes, "The kernel has no Landlock: files were not confined.")
        report.outcome = made.model_copy(update={"network_isolated": isolation.network, "notes": notes})
    sys.stdout.flush()
    os._exit(0)  # some converters crash or hang while Python shuts down; the outcome is written


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve().parent)
