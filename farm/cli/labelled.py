"""Options of a labelled set and of declared inputs, shared by ``farm models add`` and ``farm submit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from farm.errors import UserError

if TYPE_CHECKING:
    from farm import EvaluationSet, Input

EvaluationFlag = Annotated[
    Path | None, typer.Option(help="Inputs of a labelled set: .npz or .parquet, arrays named after the model's inputs.")
]
LabelsFlag = Annotated[
    str | None,
    typer.Option(help="Array or column of --evaluation with labels, or a file of them (default: labels)."),
]
TaskFlag = Annotated[
    str | None, typer.Option(help="What the labels are of: classification (default), regression, or a package's task.")
]
ClassNamesFlag = Annotated[str | None, typer.Option(help="Names of the classes, with commas between.")]
ThresholdFlag = Annotated[
    float | None, typer.Option(help="Above it, the one score of a binary classifier means yes: 0.5, or 0 for logits.")
]
InputsFlag = Annotated[
    list[str] | None,
    typer.Option("--input", help="Declares an input: NAME,minimum=0,maximum=1,fill=mean (interpolate, keep, number)."),
]


def evaluation_set(
    evaluation: Path | None, labels: str | None, task: str | None, class_names: str | None, threshold: float | None
) -> EvaluationSet | None:
    """Raises UserError for options of a set that is not given."""
    from farm import EvaluationSet
    from farm.evaluation import LABELS

    if evaluation is None:
        given = {"--labels": labels, "--task": task, "--class-names": class_names, "--threshold": threshold}
        if lost := [name for name, value in given.items() if value is not None]:
            raise UserError(f"{lost[0]} was given without --evaluation.", remedy="Give the file of the labelled set.")
        return None
    return EvaluationSet(
        evaluation,
        Path(labels) if labels and Path(labels).is_file() else labels or LABELS,
        task or "classification",
        tuple(name.strip() for name in class_names.split(",")) if class_names else (),
        threshold,
    )


def declared_inputs(texts: list[str] | None) -> list[Input]:
    from farm import Input

    return [Input.parse(text) for text in texts or ()]
