"""Turns a model in the user's hands into what the farm takes: a ``ModelSpec`` and the files it names.

Torch is imported only for a live ``nn.Module``; files need numpy alone, and are never loaded here.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from pydantic import ValidationError

from farm import steps
from farm.errors import ModelError
from farm.evaluation import EvaluationSet, unpacked
from farm.inputs import Input, Intake, declared, rows
from farm.processing import Processing
from farm.recipes import operators, samples, shapes
from farm.recipes.boundary import Boundary
from farm.recipes.caffe2 import pair
from farm.recipes.samples import Array, Sample
from farm.types import Blob, CustomOperators, EvaluationSpec, ModelFormat, ModelSpec

FORMATS = {
    ".pt2": ModelFormat.PT2,
    ".pt": ModelFormat.TORCHSCRIPT,
    ".ts": ModelFormat.TORCHSCRIPT,
    ".torchscript": ModelFormat.TORCHSCRIPT,
    ".onnx": ModelFormat.ONNX,
}
_CHUNK_BYTES = 1 << 20
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Package:
    """A model ready to be sent: ``spec`` names every file by content hash, ``files`` says where each lies.

    A context manager: the files are in a temporary folder that goes when it is left.
    """

    spec: ModelSpec

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="farm-package-")
        self.folder = Path(self._folder.name)

    def add(self, path: Path) -> Blob:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
        blob = Blob(name=path.name, sha256=digest.hexdigest(), size_bytes=path.stat().st_size)
        self.files[blob.sha256] = path
        return blob

    def add_samples(self, name: str, values: Sequence[Sample]) -> Blob:
        path = self.folder / name
        samples.write(path, values)
        return self.add(path)

    def close(self) -> None:
        self._folder.cleanup()

    def __enter__(self) -> Package:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def package(
    model: Any,
    example_inputs: Any = None,
    *,
    name: str | None = None,
    parity_inputs: Any = None,
    calibration_inputs: Any = None,
    training_inputs: Any = None,
    evaluation: EvaluationSet | None = None,
    input_names: Sequence[str] | None = None,
    dynamic_batch: bool = False,
    custom_operators: Mapping[str, str | Path] | None = None,
    inputs: Sequence[Input] = (),
    preprocessing: Sequence[Any] = (),
    postprocessing: Sequence[Any] = (),
) -> Package:
    """Package an ``nn.Module``, the path of a ``.pt2``, TorchScript (``.pt``, ``.ts``) or ``.onnx`` file, or of the
    folder with Caffe2's ``init_net.pb`` and ``predict_net.pb`` (or both their paths, in this order).

    ``example_inputs`` is one sample: a tensor or array, or a tuple of them in positional order. ``parity_inputs`` (what
    artifacts are compared on; default: the example), ``calibration_inputs`` (for int8) and ``training_inputs`` (for
    distillation) are lists of samples. Each may also be the path of an ``.npz`` with arrays named
    ``"{sample}.{input}"``. Samples may be dicts by input name, and lack values where ``inputs`` declares what stands
    for them.

    ``dynamic_batch``: the first dimension of every input is a batch of any size, and 1 in all inputs given here; then
    recipes may have ``farm.batch(8)`` or ``farm.dynamic_batch()``. A file must have been exported that way (``.pt2``).
    ``custom_operators``: for ``"pytorch"`` a shared library or a Python file, for ``"onnxruntime"`` a shared library.

    An ``nn.Module`` is run and exported in eval mode (``torch.export``), and answers the parity inputs itself.
    Raises ModelError: it does not run or export (with PyTorch's reason and the line in your code), inputs do not fit.
    """
    if example_inputs is None:
        raise ModelError("No example inputs were given.", remedy="Give example_inputs=(x, ...), one tensor per input.")
    nets = pair.find(model if isinstance(model, (tuple, list)) else Path(model)) if _is_path(model) else None
    live = not _is_path(model)
    example_rows = rows(example_inputs, "example") if isinstance(example_inputs, (str, Path)) else [example_inputs]
    names = _input_names(model if live else None, example_rows[0], input_names, inputs)
    intake = Intake(declared(example_rows[0], names, inputs))
    work = Processing(steps.parsed(preprocessing, "preprocessing"), steps.parsed(postprocessing, "postprocessing"))
    raw = intake.take(example_rows[:1], "example inputs")
    example = work.before_model(raw, "example inputs")
    specs = work.specs(intake.specs, example[0])
    if dynamic_batch:
        shapes.check_samples(specs)

    def take(given: Any, what: str) -> list[Sample]:
        made = work.before_model(intake.take(given, f"{what} inputs"), f"{what} inputs")
        samples.check(made, specs, f"{what} inputs")
        return made

    parity = example if parity_inputs is None else take(rows(parity_inputs, "parity"), "parity")
    calibration = None if calibration_inputs is None else take(rows(calibration_inputs, "calibration"), "calibration")
    training = None if training_inputs is None else take(rows(training_inputs, "training"), "training")
    labelled_rows, labels = unpacked(evaluation, intake.specs) if evaluation else ([], {})
    labelled = take(labelled_rows, "evaluation")

    with ExitStack() as stack:
        made = stack.enter_context(Package())
        reference = answers = None
        if live:
            program, model_format = made.folder / "program.pt2", ModelFormat.PT2
            inside = [*parity, *labelled]
            customized = "pytorch" in (custom_operators or {})
            outputs = _export(model, example[0], inside, program, customized, dynamic_batch)
            work.after_model(outputs[:1])
            reference = made.add_samples("reference_outputs.npz", outputs[: len(parity)])
            answers = made.add_samples("evaluation_outputs.npz", outputs[len(parity) :]) if labelled else None
        elif nets is not None:
            program, model_format = made.folder / "program.caffe2", ModelFormat.CAFFE2
            pair.pack(*nets, program)
        else:
            program, model_format = Path(model), _format(Path(model))
            if dynamic_batch and model_format != ModelFormat.PT2:
                raise ModelError(
                    f"{program.name} cannot be built for batches: it is no .pt2.",
                    remedy="Hand over the nn.Module, or a .pt2 that was exported with a torch.export.Dim.",
                )
        made.spec = ModelSpec(
            name=_name(name, type(model).__name__ if live else _stem(model)),
            format=model_format,
            program=made.add(program),
            inputs=specs,
            example_inputs=made.add_samples("example_inputs.npz", example),
            parity_inputs=made.add_samples("parity_inputs.npz", parity),
            reference_outputs=reference,
            calibration_inputs=made.add_samples("calibration_inputs.npz", calibration) if calibration else None,
            dynamic_batch=dynamic_batch,
            custom_operators=tuple(
                CustomOperators(runtime=runtime, kind=kind, file=made.add(path))
                for runtime, kind, path in operators.declared(custom_operators or {})
            ),
            training_inputs=made.add_samples("training_inputs.npz", training) if training else None,
            evaluation=_evaluation_spec(made, evaluation, labelled, labels, answers) if evaluation else None,
            filled=tuple(intake.filled),
            preprocessing=work.before,
            postprocessing=work.after,
            raw_inputs=tuple(intake.specs) if work.before else (),
            raw_example=made.add_samples("raw_example.npz", work.device_example(raw[0])) if work.before else None,
            host_preprocess_seconds=work.host_seconds,
        )
        stack.pop_all()
    return made


def _evaluation_spec(
    made: Package,
    given: EvaluationSet,
    labelled: Sequence[Sample],
    labels: Mapping[str, Array],
    reference: Blob | None,
) -> EvaluationSpec:
    path = made.folder / "evaluation_labels.npz"
    np.savez(path, **labels)  # type: ignore[arg-type]
    try:
        return EvaluationSpec(
            task=given.task,
            inputs=made.add_samples("evaluation_inputs.npz", labelled),
            labels=made.add(path),
            samples=len(labelled),
            class_names=tuple(given.class_names),
            threshold=given.threshold,
            reference_outputs=reference,
            options=dict(given.options),
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ModelError(f"The evaluation set's {where}: {first['msg']}.", remedy="Correct it.") from error


def _is_path(model: Any) -> bool:
    """Also of two paths: the nets of a Caffe2 model."""
    if isinstance(model, (tuple, list)):
        return len(model) == 2 and all(isinstance(part, (str, Path)) for part in model)
    return isinstance(model, (str, Path))


def _stem(model: Any) -> str:
    if isinstance(model, (tuple, list)):
        return Path(model[1]).resolve().parent.name
    return Path(model).resolve().name if Path(model).is_dir() else Path(model).stem


def _input_names(model: Any, example: Any, given: Sequence[str] | None, inputs: Sequence[Input]) -> list[str]:
    """Those given or declared, else those of the module's ``forward`` or of a sample by name, else numbers."""
    by_name = isinstance(example, Mapping)
    count = len(example) if isinstance(example, (list, tuple, dict)) else 1
    if given is not None:
        if len(given) != count and not by_name:
            raise ModelError(
                f"{len(given)} input names were given for {count} inputs.",
                remedy="Name every input, in positional order.",
            )
        return list(given)
    said = [each.name for each in inputs]
    forward = getattr(model, "forward", None)
    parameters = inspect.signature(forward).parameters.values() if forward else []
    named = [parameter.name for parameter in parameters if parameter.kind in _POSITIONAL]
    if by_name:  # what it lacks is declared
        wanted = {*example, *said}
        ordered = [name for name in named if name in wanted]
        return ordered if len(ordered) == len(wanted) else list(dict.fromkeys([*example, *said]))
    if len(said) == count:
        return said
    return named[:count] if len(named) >= count else [f"input_{position}" for position in range(count)]


def _name(given: str | None, fallback: str) -> str:
    if given is None:
        return re.sub(r"[^A-Za-z0-9._-]+", "-", fallback).lstrip("._-")[:100] or "model"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", given):
        raise ModelError(
            f"{given!r} cannot be a model's name.", remedy="Use up to 100 letters, digits, dots, dashes, underscores."
        )
    return given


def _format(path: Path) -> ModelFormat:
    if not path.is_file():
        raise ModelError(f"There is no file {path}.", remedy="Give an nn.Module or the path of a model file.")
    if path.suffix not in FORMATS:
        raise ModelError(
            f"{path.name} is in no format that the farm takes.",
            remedy=f"Give an nn.Module, a file of type {', '.join(FORMATS)}, or the folder of a Caffe2 model.",
        )
    found = FORMATS[path.suffix]
    if found == ModelFormat.TORCHSCRIPT and not _holds_code(path):
        raise ModelError(
            f"{path.name} holds no TorchScript (a state dict or a pickled module, perhaps).",
            remedy="Pickles are never loaded: load it yourself and hand over the nn.Module.",
        )
    return found


def _holds_code(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in member for member in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _export(
    model: Any, example: Sample, parity: Sequence[Sample], path: Path, customized: bool, dynamic_batch: bool
) -> list[Sample]:
    """Export to ``path`` and return what the model itself answers to the parity inputs. ``customized``: operators that
    are not PyTorch's are taken here, and builds check that they are those which came with the model."""
    import torch

    from farm.recipes import archive
    from farm.recipes.runtimes.reference import flatten

    if not isinstance(model, torch.nn.Module) or isinstance(model, torch.jit.ScriptModule):
        raise ModelError(
            f"A {type(model).__name__} is no plain nn.Module.",
            remedy="Hand over the nn.Module; or save it with torch.jit.save or torch.export.save and give the path.",
        )
    training = [part for part in model.modules() if part.training]
    model.eval()
    try:
        inputs = _tensors(example)
        remedy = "Check model(*example_inputs) in eval mode, on the CPU."
        with Boundary(ModelError, "The model does not run on its inputs", remedy), torch.inference_mode():
            outputs = model(*inputs)
            answers = [flatten(model(*_tensors(sample))) for sample in parity]
        if dynamic_batch:
            shapes.check_outputs(flatten(outputs), _answer_to_three(model, example))
        exportable = model if _is_plain(outputs) else _with_flat_outputs(model)
        remedy = "Change that code so that torch.export can follow it, or upload TorchScript or ONNX instead."
        with Boundary(ModelError, "torch.export cannot export the model", remedy):
            if dynamic_batch:
                exported = shapes.any_batch(exportable, inputs)
            else:
                exported = torch.export.export(exportable, inputs, strict=False)
            exported.example_inputs = None  # they would be saved with all the memory that backs them
            saved = path.with_name("exported.pt2")
            torch.export.save(exported, str(saved))
    finally:
        for part in training:
            part.training = True
    archive.clean_pt2(saved, path, operators.used(exported) if customized else frozenset())
    saved.unlink()
    return answers


def _answer_to_three(model: Any, example: Sample) -> Sample:
    import torch

    from farm.recipes.runtimes.reference import flatten

    remedy = "Take the first dimension's size from the inputs, never as a number; or leave dynamic_batch out."
    with Boundary(ModelError, "The model does not run on a batch of three samples", remedy), torch.inference_mode():
        return flatten(model(*_tensors(samples.stacked([example], 3)[0])))


def _tensors(sample: Sample) -> tuple[Any, ...]:
    import torch

    return tuple(torch.from_numpy(array.copy()) for array in sample)


def _is_plain(outputs: Any) -> bool:
    """Whether the farm can rebuild the outputs without the sender's own classes."""
    if isinstance(outputs, dict):
        return type(outputs) is dict and all(_is_plain(value) for value in outputs.values())
    if isinstance(outputs, (tuple, list)):
        return type(outputs) in (tuple, list) and all(_is_plain(value) for value in outputs)
    return hasattr(outputs, "dtype")


def _with_flat_outputs(model: Any) -> Any:
    import torch
    from torch.utils._pytree import tree_leaves

    class FlatOutputs(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *inputs: Any) -> tuple[Any, ...]:
            return tuple(tree_leaves(self.model(*inputs)))

    return FlatOutputs().eval()
