"""Uploaded PyTorch programs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from farm.errors import ForbiddenError, ModelError, NotFoundError, TooLargeError
from farm.planning.fusion import fuse
from farm.planning.registration import register
from farm.server.auth import Reader, Writer
from farm.server.problems import documented
from farm.server.resources import Farm, Resources, now
from farm.server.route import Route
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
    return register(spec, farm.store, farm.artifacts, farm.settings, caller, now())
