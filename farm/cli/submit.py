"""``farm submit``: a model x recipes x devices x scenarios."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import typer
from pydantic import ValidationError

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
from farm.cli.runs import exit_code, follow
from farm.cli.session import connect
from farm.errors import UserError
from farm.types import Cores, Priority, Protocol, Scenario


def submit(
    context: typer.Context,
    *,
    model: Annotated[
        str, typer.Argument(help="A file (.pt2, .pt, .ts, .onnx), a Caffe2 folder, or name or id of an uploaded model.")
    ],
    recipes: Annotated[str, typer.Option(help="Names with commas between, a YAML file, or all.")],
    devices: Annotated[str, typer.Option(help="Selector, e.g. 'platform=linux,memory_gib>=8'.")],
    threads: Annotated[str, typer.Option(help="Thread counts to measure with, e.g. 1,2.")] = "1",
    accelerator: Annotated[
        str, typer.Option(help="What native tools are to use: cpu, gpu, npu; e.g. cpu,gpu. See docs/native-tools.md.")
    ] = "cpu",
    tool: Annotated[str | None, typer.Option(help="The native tool to measure with, also on the CPU.")] = None,
    cores: Annotated[
        str | None, typer.Option(help="Clusters of phones to be pinned to: big, mid, little, all; e.g. big,little.")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Time to measure one job, if its interval is not reached sooner.")
    ] = None,
    timeout_seconds: Annotated[float | None, typer.Option(help="Time after which a job is given up.")] = None,
    priority: Annotated[
        Priority, typer.Option(help="Who goes first at a device: interactive, normal, nightly.")
    ] = "normal",
    inputs: Annotated[Path | None, typer.Option(help="Example inputs (.npz) of a model file.")] = None,
    parity_inputs: Annotated[Path | None, typer.Option(help="Inputs (.npz) to compare outputs on.")] = None,
    calibration_inputs: Annotated[Path | None, typer.Option(help="Inputs (.npz) to quantize with.")] = None,
    training_inputs: Annotated[Path | None, typer.Option(help="Inputs (.npz) that distillation learns from.")] = None,
    evaluation: EvaluationFlag = None,
    labels: LabelsFlag = None,
    task: TaskFlag = None,
    class_names: ClassNamesFlag = None,
    threshold: ThresholdFlag = None,
    declared: InputsFlag = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    model_name: Annotated[str | None, typer.Option(help="Name of a model file; default: after the file.")] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also say what each operator costs; `farm runs profile` shows it.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end and print the comparison.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Build variants of a model and measure them.

    With --wait the exit code is 0 if the run finished with at least one measurement.
    """
    with connect(context) as client:
        handle = client.submit(
            model,
            recipes=_recipes(recipes),
            devices=devices,
            example_inputs=inputs,
            scenarios=_native(_scenarios(threads, cores), accelerator, tool),
            protocol=_protocol(max_seconds=max_seconds, timeout_seconds=timeout_seconds).model_copy(
                update={"profile": profile}
            ),
            priority=priority,
            parity_inputs=parity_inputs,
            calibration_inputs=calibration_inputs,
            training_inputs=training_inputs,
            evaluation=evaluation_set(evaluation, labels, task, class_names, threshold),
            inputs=declared_inputs(declared) or None,
            name=name,
            model_name=model_name,
        )
        if not wait:
            hint = f"Run {handle.id} is submitted. `farm runs watch {handle.id}` follows it."
            output.emit({"run": handle.info}, as_json, hint)
            return
        follow(handle, progress=not as_json)
        comparison = handle.compare()
    output.emit({"run": handle.info, "comparison": comparison.to_dict()} if as_json else None, as_json, comparison)
    raise typer.Exit(exit_code(handle))


def _recipes(text: str) -> list[str] | Path | Literal["all"]:
    if text.endswith((".yaml", ".yml")):
        return Path(text)
    return "all" if text.strip() == "all" else [part.strip() for part in text.split(",") if part.strip()]


def _native(scenarios: list[Scenario], accelerators: str, tool: str | None) -> list[Scenario]:
    """Each of them on each accelerator."""
    try:
        return [
            Scenario(**each.model_dump() | {"accelerator": accelerator.strip(), "tool": tool})
            for accelerator in accelerators.split(",")
            for each in scenarios
        ]
    except ValueError as error:
        raise UserError(
            f"--accelerator {accelerators} and --tool {tool} cannot be used.",
            remedy="Accelerators are cpu, gpu and npu; `farm devices show` tells a device's tools.",
        ) from error


def _scenarios(threads: str, cores: str | None) -> list[Scenario]:
    if cores is not None and not {*(clusters := cores.split(","))} <= {*get_args(Cores)}:
        raise UserError(f"--cores {cores} cannot be used.", remedy=f"Give some of {', '.join(get_args(Cores))}.")
    try:
        counts = [int(part) for part in threads.split(",")]
        kinds = clusters if cores is not None else [None]
        return [Scenario("single-stream", threads=count, cores=kind) for kind in kinds for count in counts]
    except ValueError as error:  # ValidationError is one, too
        raise UserError(
            f"--threads {threads} cannot be used.", remedy="Give counts from 1 to 256 with commas between, e.g. 1,2."
        ) from error


def _protocol(**given: Any) -> Protocol:
    try:
        return Protocol(**{key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        flags = " ".join(f"--{key.replace('_', '-')} {value:g}" for key, value in given.items() if value is not None)
        raise UserError(
            f"{flags} cannot be used: {error.errors()[0]['msg']}.",
            remedy="Both must be positive, and --timeout-seconds above --max-seconds.",
        ) from error
