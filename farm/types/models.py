"""A model: an uploaded PyTorch program with its inputs."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from farm.types.base import Blob, Frozen, Name, Sha256, TensorSpec, digest_of
from farm.types.evaluation import EvaluationSpec
from farm.types.steps import Step


class ModelFormat(StrEnum):
    PT2 = "pt2"
    TORCHSCRIPT = "torchscript"
    ONNX = "onnx"
    CAFFE2 = "caffe2"  # init_net.pb and predict_net.pb in one ZIP


FusionKind = Literal["sequence", "parallel", "parallel-shared"]


_UNHASHED = {"host_preprocess_seconds": True}  # it is another one every time
_DECLARED = ("minimum", "maximum", "fill")
# What runs on the operators that another runtime's library or registration brings.
_SHARES_OPERATORS = {"torchscript": "pytorch", "pytorch-mobile": "pytorch"}


class CustomOperators(Frozen):
    """A user's own operators for one runtime.

    ``library``: a shared library, for PyTorch one that registers with its dispatcher, for ONNX Runtime one that exports
    ``RegisterCustomOps``. ``python``: a file that registers with ``torch.library``. Builds load it in their sandbox;
    the harness loads it on the device, where it may do whatever the agent may: farms take it only where their
    administrator allows it (``allow_custom_operators``).
    """

    runtime: Literal["pytorch", "onnxruntime"]
    kind: Literal["library", "python"]
    file: Blob

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kind == "python" and self.runtime != "pytorch":
            raise ValueError(f"{self.runtime} takes custom operators as a shared library only")
        return self


class ModelSpec(Frozen):
    """An uploaded PyTorch program with its example inputs.

    ``example_inputs``, ``parity_inputs``, ``calibration_inputs`` and ``training_inputs`` (which distillation learns
    from, without labels) are ``.npz`` files whose arrays are
    named ``"{sample}.{input}"`` (``"0.0"``, ``"0.1"``, ``"1.0"``, ...). ``reference_outputs`` holds what
    PyTorch answers to the parity inputs, named ``"{sample}.{output}"``; where it is missing, the farm
    computes it from the program itself. ``dynamic_batch``: the first dimension of every input is a batch, which may
    be of any size; samples hold one each.

    With ``preprocessing``, ``inputs`` and all samples are what its steps make: what the program takes. ``raw_inputs``
    and ``raw_example`` are what the device's steps take; those of the host took ``host_preprocess_seconds`` per sample
    where the model was uploaded from.
    """

    name: Name
    format: ModelFormat
    program: Blob
    inputs: tuple[TensorSpec, ...]
    example_inputs: Blob
    parity_inputs: Blob
    reference_outputs: Blob | None = None
    calibration_inputs: Blob | None = None
    training_inputs: Blob | None = None
    evaluation: EvaluationSpec | None = None
    dynamic_batch: bool = False
    fusion: Fusion | None = None
    filled: tuple[Filled, ...] = ()
    preprocessing: tuple[Step, ...] = ()
    postprocessing: tuple[Step, ...] = ()
    raw_inputs: tuple[TensorSpec, ...] = ()
    raw_example: Blob | None = None
    host_preprocess_seconds: float | None = None
    custom_operators: tuple[CustomOperators, ...] = ()

    @model_validator(mode="after")
    def _one_per_runtime(self) -> Self:
        runtimes = [operators.runtime for operators in self.custom_operators]
        if len(set(runtimes)) < len(runtimes):
            raise ValueError("custom_operators has more than one file for a runtime")
        return self

    @property
    def id(self) -> str:
        """Content address: two uploads of the same files under the same name are one model."""
        # What is not declared of inputs is left out: it does not change what was uploaded before one could say it.
        plain = {name for name in _DECLARED if all(getattr(spec, name) is None for spec in self.inputs)}
        return digest_of(self.model_dump(mode="json", exclude={"inputs": {"__all__": plain}, **_UNHASHED}))

    @property
    def needs_reference(self) -> bool:
        """Whether the farm has to compute what PyTorch answers: the upload did not say all of it."""
        unsaid = self.evaluation is not None and self.evaluation.reference_outputs is None
        return self.reference_outputs is None or unsaid

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """All its files."""
        labelled = self.evaluation
        own = tuple(getattr(self, name) for name in type(self).model_fields)
        of_evaluation = (labelled.inputs, labelled.labels, labelled.reference_outputs) if labelled else ()
        parts = self.fusion.parts if self.fusion else ()
        return (
            *(value for value in (*own, *of_evaluation) if isinstance(value, Blob)),
            *(operators.file for operators in self.custom_operators),
            *(blob for part in parts for blob in part.blobs),
        )

    def operators_for(self, runtime: str) -> CustomOperators | None:
        """The custom operators that this runtime loads."""
        owner = _SHARES_OPERATORS.get(runtime, runtime)
        return next((operators for operators in self.custom_operators if operators.runtime == owner), None)

    def runs_on(self, runtime: str) -> bool:
        """Whether it has what this runtime needs: a program of custom operators runs only where they are given."""
        return not self.custom_operators or self.operators_for(runtime) is not None


class Filled(Frozen):
    """Missing values of one input that its declared policy filled before the upload, in some ``samples`` of a set."""

    input: str
    of: str  # "parity inputs", ...
    policy: str  # "mean", "interpolate", or the number
    values: int
    samples: int

    def __str__(self) -> str:
        how = f"by {self.policy}" if self.policy == "interpolate" else f"with {self.policy}"
        values = "1 value" if self.values == 1 else f"{self.values:,} values"
        return f"{values} of {self.input} in {self.samples:,} of the {self.of} ({how})"


class Fusion(Frozen):
    """Models that are one: ``how`` as in ``farm.recipes.transforms.combine.fused``. Of the model that they are,
    ``format`` is pt2 and ``program`` that of the first part; builds join them."""

    how: FusionKind
    parts: tuple[ModelSpec, ...] = Field(min_length=2, max_length=16)


class FusionRequest(Frozen):
    """Fuse these uploaded models, named by id, prefix of an id, or name."""

    models: tuple[str, ...] = Field(min_length=2, max_length=16)
    how: FusionKind = "sequence"
    name: Name | None = None


class Model(Frozen):
    id: Sha256
    spec: ModelSpec
    created_by: str
    created_at: datetime
