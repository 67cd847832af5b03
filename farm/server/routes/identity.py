"""Whose token is this?"""

from __future__ import annotations

from fastapi import APIRouter

from farm.server.auth import Anyone
from farm.server.problems import documented
from farm.server.route import Route
from farm.types import Frozen, Role

router = APIRouter(tags=["identity"], route_class=Route)


class Identity(Frozen):
    name: str
    role: Role


@router.get("/whoami", responses=documented())
def whoami(caller: Anyone) -> Identity:
    return Identity(name=caller.name, role=caller.role)
