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

from farm.errors import ModelError
from farm.evaluation import EvaluationSet, unpacked
from farm.recipes import samples
from farm.recipes.boundary import Boundary
from farm.recipes.caffe2 import pair
from farm.recipes.samples import Array, Sample
from farm.types import Blob, CustomOperators, EvaluationSpec, ModelFormat, ModelSpec, TensorSpec

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
    custom_operators: Mapping[str, str | Path] | None = None,
) -> Package:
    """Package an ``nn.Module``, the path of a ``.pt2``, TorchScript (``.pt``, ``.ts``) or ``.onnx`` file, or of the
    folder with Caffe2's ``init_net.pb`` and ``predict_net.pb`` (or both their paths, in this order).

    ``example_inputs`` is one sample: a tensor or array, or a tuple of them in positional order. ``parity_inputs`` (what
    artifacts are compared on; default: the example), ``calibration_inputs`` (for int8) and ``training_inputs`` (for
    distillation) are lists of samples. Each may also be the path of an ``.npz`` with arrays named
    ``"{sample}.{input}"``.

    ``custom_operators``: for ``"pytorch"`` a shared library or a Python file, for ``"onnxruntime"`` a shared library.

    An ``nn.Module`` is run and exported in eval mode (``torch.export``), and answers the parity inputs itself.
    Raises ModelError: it does not run or export (with PyTorch's reason and the line in your code), inputs do not fit.
    """
    if example_inputs is None:
        raise ModelError("No example inputs were given.", remedy="Give example_inputs=(x, ...), one tensor per input.")
    nets = pair.find(model if isinstance(model, (tuple, list)) else Path(model)) if _is_path(model) else None
    live = not _is_path(model)
    example = _samples([example_inputs] if not isinstance(example_inputs, (str, Path)) else example_inputs, "example")[
        :1
    ]
    parity = example if parity_inputs is None else _samples(parity_inputs, "parity")
    calibration = None if calibration_inputs is None else _samples(calibration_inputs, "calibration")
    training = None if training_inputs is None else _samples(training_inputs, "training")
    names = _input_names(model if live else None, len(example[0]), input_names)
    inputs = samples.describe(example[0], names)
    samples.check(parity, inputs, "parity inputs")
    samples.check(calibration or [], inputs, "calibration inputs")
    samples.check(training or [], inputs, "training inputs")
    labelled, labels = _labelled(evaluation, inputs) if evaluation else ([], {})

    with ExitStack() as stack:
        made = stack.enter_context(Package())
        reference = answers = None
        if live:
            program, model_format = made.folder / "program.pt2", ModelFormat.PT2
            outputs = _export(model, example[0], [*parity, *labelled], program, "pytorch" in (custom_operators or {}))
            reference = made.add_samples("reference_outputs.npz", outputs[: len(parity)])
            answers = made.add_samples("evaluation_outputs.npz", outputs[len(parity) :]) if labelled else None
        elif nets is not None:
            program, model_format = made.folder / "program.caffe2", ModelFormat.CAFFE2
            pair.pack(*nets, program)
        else:
            program, model_format = Path(model), _format(Path(model))
        made.spec = ModelSpec(
            name=_name(name, type(model).__name__ if live else _stem(model)),
            format=model_format,
            program=made.add(program),
            inputs=inputs,
            example_inputs=made.add_samples("example_inputs.npz", example),
            parity_inputs=made.add_samples("parity_inputs.npz", parity),
            reference_outputs=reference,
            calibration_inputs=made.add_samples("calibration_inputs.npz", calibration) if calibration else None,
            custom_operators=tuple(
                _operators(runtime, Path(path), made) for runtime, path in sorted((custom_operators or {}).items())
            ),
            training_inputs=made.add_samples("training_inputs.npz", training) if training else None,
            evaluation=_evaluation_spec(made, evaluation, labelled, labels, answers) if evaluation else None,
        )
        stack.pop_all()
    return made


def _labelled(given: EvaluationSet, inputs: Sequence[TensorSpec]) -> tuple[list[Sample], dict[str, Array]]:
    rows, labels = unpacked(given, inputs)
    labelled = _samples(rows, "evaluation")
    samples.check(labelled, inputs, "evaluation inputs")
    return labelled, labels


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


def _samples(value: Any, what: str) -> list[Sample]:
    """Samples as tuples of arrays. Raises ModelError for anything but tensors and arrays."""
    if isinstance(value, (str, Path)):
        return samples.read(Path(value), f"{what} inputs")
    if not isinstance(value, (list, tuple)) or not value:
        raise ModelError(
            f"The {what} inputs are a {type(value).__name__}, not a list of samples.",
            remedy="Give a list with one tensor or tuple of tensors per sample, or the path of an .npz file.",
        )
    return [tuple(map(samples.as_array, row if isinstance(row, (list, tuple)) else (row,))) for row in value]


def _input_names(model: Any, count: int, given: Sequence[str] | None) -> Sequence[str]:
    if given is None:
        forward = getattr(model, "forward", None)
        parameters = inspect.signature(forward).parameters.values() if forward else []
        named = [parameter.name for parameter in parameters if parameter.kind in _POSITIONAL]
        return named[:count] if len(named) >= count else [f"input_{position}" for position in range(count)]
    if len(given) != count:
        raise ModelError(
            f"{len(given)} input names were given for {count} inputs.", remedy="Name every input, in positional order."
        )
    return given


def _name(given: str | None, fallback: str) -> str:
    if given is None:
        return re.sub(r"[^A-Za-z0-9._-]+", "-", fallback).lstrip("._-")[:100] or "model"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", given):
        raise ModelError(
            f"{given!r} cannot be a model's name.", remedy="Use up to 100 letters, digits, dots, dashes, underscores."
        )
    return given


def _operators(runtime: str, path: Path, made: Package) -> CustomOperators:
    kinds = {"pytorch": {".so": "library", ".py": "python"}, "onnxruntime": {".so": "library"}}
    if runtime not in kinds:
        raise ModelError(
            f"Custom operators for {runtime} are not taken.",
            remedy=f"Give them for {' or '.join(kinds)}; other runtimes run programs of their own operators only.",
        )
    if path.suffix not in kinds[runtime] or not path.is_file():
        raise ModelError(
            f"{path} holds no custom operators for {runtime}" + (": there is no such file." if path.suffix else "."),
            remedy=f"Give a file of type {' or '.join(kinds[runtime])}.",
        )
    return CustomOperators.model_validate(
        {"runtime": runtime, "kind": kinds[runtime][path.suffix], "file": made.add(path)}
    )


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


def _export(model: Any, example: Sample, parity: Sequence[Sample], path: Path, customized: bool) -> list[Sample]:
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
        exportable = model if _is_plain(outputs) else _with_flat_outputs(model)
        remedy = "Change that code so that torch.export can follow it, or upload TorchScript or ONNX instead."
        with Boundary(ModelError, "torch.export cannot export the model", remedy):
            exported = torch.export.export(exportable, inputs, strict=False)
            exported.example_inputs = None  # they would be saved with all the memory that backs them
            saved = path.with_name("exported.pt2")
            torch.export.save(exported, str(saved))
    finally:
        for part in training:
            part.training = True
    archive.clean_pt2(saved, path, _used_operators(exported) if customized else frozenset())
    saved.unlink()
    return answers


def _used_operators(exported: Any) -> frozenset[str]:
    graphs = [module.graph for module in exported.graph_module.modules() if hasattr(module, "graph")]
    targets = (node.target for graph in graphs for node in graph.nodes if node.op == "call_function")
    return frozenset(target.name().split(".")[0] for target in targets if hasattr(target, "_schema"))


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
