"""Models of the farm, as a client sees and uploads them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from farm.connection import Connection
from farm.errors import NotFoundError, UserError
from farm.submission import is_uploaded
from farm.types import FusionKind, FusionRequest, Model

if TYPE_CHECKING:
    from farm.evaluation import EvaluationSet
    from farm.inputs import Input


class Uploads:
    """The part of ``farm.AsyncClient`` that is about models."""

    connection: Connection

    @property
    def url(self) -> str:
        return self.connection.url

    async def models(self) -> list[Model]:
        return await self.connection.get("/models", list[Model])

    async def model(self, ref: str) -> Model:
        """By id, unique prefix of an id, or name (then the newest)."""
        return await self.connection.get(f"/models/{quote(ref, safe='')}", Model)

    async def add_model(
        self,
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
    ) -> Model:
        """Upload a model: an ``nn.Module``, the path of a .pt2, .pt, .ts or .onnx file, or of the folder with a
        Caffe2 model's ``init_net.pb`` and ``predict_net.pb`` (or a pair of both paths).

        Inputs are a tuple of arrays or tensors (one sample), a list of such tuples, or the path of an .npz.
        ``custom_operators``: the user's own, by runtime: ``{"pytorch": "ops.py", "onnxruntime": "libops.so"}``
        (docs/custom-operators.md); raises ForbiddenError where the farm does not run them. ``dynamic_batch``: the first
        dimension of every input is a batch of any size, 1 in the inputs given; recipes may then make batches.
        ``inputs`` declares ranges, and what stands for missing values (``farm.Input``).
        ``preprocessing`` and ``postprocessing`` are steps (``farm.steps``) around the model, timed apart from it.
        ``evaluation`` is a labelled set: how well each variant does on it is told beside how well PyTorch does.
        Only files that the farm lacks are sent. Raises ModelError when the model cannot be exported or read.
        """
        from farm.packaging import package

        self.connection.check_token()
        packed = await asyncio.to_thread(
            package,
            Path(model) if isinstance(model, str) else model,
            example_inputs,
            name=name,
            parity_inputs=parity_inputs,
            calibration_inputs=calibration_inputs,
            training_inputs=training_inputs,
            evaluation=evaluation,
            input_names=input_names,
            dynamic_batch=dynamic_batch,
            custom_operators=custom_operators,
            inputs=inputs,
            preprocessing=preprocessing,
            postprocessing=postprocessing,
        )
        with packed:
            for blob in {blob.sha256: blob for blob in packed.spec.blobs}.values():
                await self.connection.upload(blob, packed.files[blob.sha256])
            return await self.connection.post("/models", Model, packed.spec)

    async def fuse_models(
        self, models: Sequence[Model | str], *, how: FusionKind = "sequence", name: str | None = None
    ) -> Model:
        """One model of several uploaded ones (ids, names or models), whose artifacts are one call.

        ``sequence``: the outputs of each are the inputs of the next. ``parallel``: each keeps its own inputs, which
        come one after the other, as do the outputs; ``parallel-shared``: all take the same inputs. Raises ModelError
        with the difference where they do not fit. For modules that are not uploaded: ``farm.fused``.
        """
        refs = tuple(model if isinstance(model, str) else model.id for model in models)
        if len(refs) < 2:
            raise UserError("One model alone cannot be fused.", remedy="Name two models or more.")
        request = FusionRequest(models=refs, how=how, name=name)
        return await self.connection.post("/models/fused", Model, request)

    async def _target(self, model: Any, inputs: dict[str, Any]) -> Model:
        """What ``submit`` is about: uploaded where it is no model of the farm yet. ``inputs``: None is not given."""
        if not is_uploaded(model):
            return await self.add_model(model, **{key: value for key, value in inputs.items() if value is not None})
        if any(value is not None for value in inputs.values()):
            given = ", ".join(key for key, value in inputs.items() if value is not None)
            raise UserError(
                f"{given} came with {model if isinstance(model, str) else model.spec.name!r}, which is no file here.",
                remedy="An uploaded model has its inputs and name: leave these out, or correct the path.",
            )
        if isinstance(model, Model):
            return model
        try:
            return await self.model(model)
        except NotFoundError as error:
            raise NotFoundError(
                f"{model!r} is neither a file here nor a model at {self.url}.",
                remedy="`farm models list` shows what is uploaded; `farm models add FILE` uploads another.",
            ) from error
