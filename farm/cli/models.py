"""``farm models``: uploaded programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from farm.cli import output
from farm.cli.labelled import (
    ClassNamesFlag,
    EvaluationFlag,
    InputsFlag,
    LabelsFlag,
    TaskFlag,
    ThresholdFlag,
    declared_inputs,
    evaluation_set,
)
from farm.cli.output import JsonFlag
from farm.cli.session import connect
from farm.errors import UserError
from farm.types import FusionKind, Model

app = typer.Typer(help="Uploaded models.", invoke_without_command=True)

ID_LENGTH = 12


@app.callback()
def models(context: typer.Context, as_json: JsonFlag = False) -> None:
    """Uploaded models; without a command, all of them."""
    if context.invoked_subcommand is None:
        _list(context, as_json)


@app.command("list")
def list_models(context: typer.Context, as_json: JsonFlag = False) -> None:
    """List models, the newest first."""
    _list(context, as_json)


@app.command()
def show(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name, id, or the beginning of an id.")],
    as_json: JsonFlag = False,
) -> None:
    """One model with its inputs."""
    with connect(context) as client:
        found = client.model(model)
    _emit(found, as_json)


@app.command()
def add(
    context: typer.Context,
    *,
    file: Annotated[
        Path, typer.Argument(help="Program: .pt2 (torch.export), .pt or .ts (TorchScript), .onnx, or a Caffe2 folder.")
    ],
    inputs: Annotated[Path, typer.Option(help="Example inputs: .npz with arrays named SAMPLE.INPUT, e.g. 0.0.")],
    parity_inputs: Annotated[Path | None, typer.Option(help="Inputs to compare on; default: --inputs.")] = None,
    calibration_inputs: Annotated[Path | None, typer.Option(help="Inputs to quantize with.")] = None,
    training_inputs: Annotated[Path | None, typer.Option(help="Inputs that distillation learns from.")] = None,
    input_names: Annotated[str | None, typer.Option(help="Names of the inputs, with commas between.")] = None,
    custom_operators: Annotated[
        list[str] | None, typer.Option(help="RUNTIME=FILE, e.g. onnxruntime=libops.so; may be given for several.")
    ] = None,
    evaluation: EvaluationFlag = None,
    labels: LabelsFlag = None,
    task: TaskFlag = None,
    class_names: ClassNamesFlag = None,
    threshold: ThresholdFlag = None,
    declared: InputsFlag = None,
    name: Annotated[str | None, typer.Option(help="Default: after the file.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Upload a model; files that the farm has already are not sent again."""
    with connect(context) as client:
        added = client.add_model(
            file,
            inputs,
            name=name,
            parity_inputs=parity_inputs,
            calibration_inputs=calibration_inputs,
            training_inputs=training_inputs,
            evaluation=evaluation_set(evaluation, labels, task, class_names, threshold),
            inputs=declared_inputs(declared),
            input_names=input_names.split(",") if input_names else None,
            custom_operators=_operators(custom_operators or []),
        )
    _emit(added, as_json)


@app.command()
def fuse(
    context: typer.Context,
    *,
    models: Annotated[list[str], typer.Argument(help="Names, ids, or the beginnings of ids; in their order.")],
    how: Annotated[
        str, typer.Option(help="sequence (outputs are the next one's inputs), parallel, or parallel-shared (inputs).")
    ] = "sequence",
    name: Annotated[str | None, typer.Option(help="Default: the models' names.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make uploaded models one, whose artifacts are one call."""
    if how not in get_args(FusionKind):
        raise UserError(f"--how={how} is unknown.", remedy=f"Use one of {', '.join(get_args(FusionKind))}.")
    with connect(context) as client:
        fused = client.fuse_models(models, how=cast(FusionKind, how), name=name)
    _emit(fused, as_json)


def _list(context: typer.Context, as_json: bool) -> None:
    with connect(context) as client:
        found = client.models()
    rows = (
        (
            model.spec.name,
            model.id[:ID_LENGTH],
            model.spec.format,
            output.size(model.spec.program.size_bytes),
            ", ".join(map(str, model.spec.inputs)),
            model.created_by,
            f"{model.created_at:%Y-%m-%d %H:%M}",
        )
        for model in found
    )
    columns = ("model", "id", "format", "size", "inputs", "by", "at (UTC)")
    output.emit(
        found, as_json, output.table(columns, rows, "No model yet. `farm models add FILE --inputs X.npz` uploads one.")
    )


def _operators(given: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    if wrong := [text for text, (_, _, path) in zip(given, pairs, strict=True) if not path]:
        raise UserError(f"--custom-operators {wrong[0]} names no file.", remedy="Write RUNTIME=FILE.")
    return {runtime: path for runtime, _, path in pairs}


def _emit(model: Model, as_json: bool) -> None:
    spec = model.spec
    pairs: list[tuple[str, object]] = [
        ("name", spec.name),
        ("id", model.id),
        ("format", spec.format),
        ("size", output.size(spec.program.size_bytes)),
        ("inputs", "\n".join(f"{given} {given.range}".rstrip() for given in spec.inputs)),
        ("reference", "from the upload" if spec.reference_outputs else "computed by the farm"),
        ("calibration", spec.calibration_inputs.name if spec.calibration_inputs else "none: example inputs are used"),
        ("operators", "\n".join(f"{own.file.name} for {own.runtime}" for own in spec.custom_operators) or None),
        ("labelled set", _labelled(model)),
        ("filled", "\n".join(map(str, spec.filled)) or "nothing was missing"),
        ("created_by", model.created_by),
        ("created_at", model.created_at),
    ]
    if spec.fusion:
        pairs.insert(3, ("fused", f"{spec.fusion.how}: {', '.join(part.name for part in spec.fusion.parts)}"))
    output.emit(model, as_json, output.facts(pairs))


def _labelled(model: Model) -> str:
    found = model.spec.evaluation
    return f"{found.samples:,} samples, {found.task}" if found else "none"
