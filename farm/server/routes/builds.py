"""Artifacts and how they came to be."""

from __future__ import annotations

from fastapi import APIRouter

from farm.errors import NotFoundError
from farm.server.auth import Reader
from farm.server.problems import documented
from farm.server.resources import Farm
from farm.server.route import Route
from farm.types import Build, Sha256

router = APIRouter(prefix="/builds", tags=["builds"], route_class=Route)


@router.get("/{key}", responses=documented(NotFoundError))
def build(key: Sha256, farm: Farm, caller: Reader) -> Build:
    with farm.store.reading() as reading:
        return reading.build(key)
