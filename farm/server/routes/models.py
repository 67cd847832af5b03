"""Uploaded PyTorch programs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from farm.errors import ForbiddenError, ModelError, NotFoundError, TooLargeError
from farm.planning.operators import check_operators
from farm.server.auth import Reader, Writer
from farm.server.fusion import check_fusion, fuse
from farm.server.inputs import check_inputs
from farm.server.problems import documented
from farm.server.resources import Farm, Resources, now
from farm.server.route import Route
from farm.store.artifacts import ArtifactStore
from farm.types import FusionRequest, Model, ModelSpec

router = APIRouter(prefix="/models", tags=["models"], route_class=Route)


@router.post("", responses=documented(ForbiddenError, ModelError, TooLargeError))
def add(spec: ModelSpec, farm: Farm, caller: Writer) -> Model:
    """Register a model whose files were uploaded before. Idempotent."""
    return _added(spec, farm, caller.name)


@router.post("/fused", responses=documented(ForbiddenError, ModelError, NotFoundError, TooLargeError))
def add_fused(request: FusionRequest, farm: Farm, caller: Writer) -> Model:
    """Register the model that uploaded ones are together, one after the other or side by side. Idempotent."""
    with farm.store.reading() as reading:
        parts = [reading.model(ref).spec for ref in request.models]
    limit = farm.settings.max_upload_bytes
    return _added(fuse(parts, request.how, request.name, farm.artifacts, limit), farm, caller.name)


@router.get("", responses=documented())
def models(farm: Farm, caller: Reader, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[Model]:
    """The newest first."""
    with farm.store.reading() as reading:
        return reading.models(limit)


@router.get("/{ref}", responses=documented(NotFoundError))
def model(ref: str, farm: Farm, caller: Reader) -> Model:
    """By id, by unique prefix of an id, or by name (the newest of that name)."""
    with farm.store.reading() as reading:
        return reading.model(ref)


def _added(spec: ModelSpec, farm: Resources, caller: str) -> Model:
    check_operators(spec, farm.settings)
    _check_files(spec, farm.artifacts)
    _check(spec, farm.artifacts)
    with farm.store.transaction() as transaction:
        _check_files(spec, farm.artifacts)  # again: files that nothing refers to are removed in a transaction, too
        return transaction.add_model(spec, caller, now())


def _check(spec: ModelSpec, artifacts: ArtifactStore) -> None:
    check_inputs(spec, artifacts)
    check_fusion(spec, artifacts)
    for part in spec.fusion.parts if spec.fusion else ():
        _check(part, artifacts)


def _check_files(spec: ModelSpec, artifacts: ArtifactStore) -> None:
    for blob in spec.blobs:
        if not artifacts.exists(blob.sha256):
            raise ModelError(
                f"{blob.name} ({blob.sha256[:12]}) of model {spec.name} was not uploaded.",
                remedy="Upload it first: PUT /api/v1/blobs/{sha256}.",
                details={"sha256": blob.sha256},
            )
        size = artifacts.size_bytes(blob.sha256)
        if size != blob.size_bytes:
            raise ModelError(
                f"{blob.name} has {size:,} bytes, not {blob.size_bytes:,} as the model says.",
                remedy="Describe the file that was uploaded.",
            )
