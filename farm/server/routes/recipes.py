"""The presets, and which of them this farm can build."""

from __future__ import annotations

from fastapi import APIRouter

from farm.server.auth import Reader
from farm.server.problems import documented
from farm.server.route import Route
from farm.types import RecipeInfo

router = APIRouter(prefix="/recipes", tags=["recipes"], route_class=Route)


@router.get("", responses=documented())
def recipes(caller: Reader) -> list[RecipeInfo]:
    from farm.recipes import presets

    return presets.infos()
