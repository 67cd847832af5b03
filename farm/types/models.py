"""A model: an uploaded PyTorch program with its inputs."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from farm.types.base import Blob, Frozen, Name, Sha256, TensorSpec, digest_of


class ModelFormat(StrEnum):
    PT2 = "pt2"
    TORCHSCRIPT = "torchscript"
    ONNX = "onnx"


class ModelSpec(Frozen):
    """An uploaded PyTorch program with its example inputs.

    ``example_inputs``, ``parity_inputs`` and ``calibration_inputs`` are ``.npz`` files whose arrays are
    named ``"{sample}.{input}"`` (``"0.0"``, ``"0.1"``, ``"1.0"``, ...). ``reference_outputs`` holds what
    PyTorch answers to the parity inputs, named ``"{sample}.{output}"``; where it is missing, the farm
    computes it from the program itself. ``dynamic_batch``: the first dimension of every input is a batch, which may
    be of any size; samples hold one each.
    """

    name: Name
    format: ModelFormat
    program: Blob
    inputs: tuple[TensorSpec, ...]
    example_inputs: Blob
    parity_inputs: Blob
    reference_outputs: Blob | None = None
    calibration_inputs: Blob | None = None
    dynamic_batch: bool = False

    @property
    def id(self) -> str:
        """Content address: two uploads of the same files under the same name are one model."""
        # Left out where it is not set: models that were uploaded before there was such a thing keep their address.
        return digest_of(self.model_dump(mode="json", exclude=None if self.dynamic_batch else {"dynamic_batch"}))


class Model(Frozen):
    id: Sha256
    spec: ModelSpec
    created_by: str
    created_at: datetime
