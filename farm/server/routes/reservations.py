"""Who has which devices for themselves."""

from __future__ import annotations

from fastapi import APIRouter

from farm.server.auth import Reader
from farm.server.problems import documented
from farm.server.resources import Farm, now
from farm.server.route import Route
from farm.types import Reservation

router = APIRouter(prefix="/reservations", tags=["devices"], route_class=Route)


@router.get("", responses=documented())
def reservations(farm: Farm, caller: Reader) -> list[Reservation]:
    """Those in force, by device."""
    with farm.store.reading() as reading:
        return reading.reservations(now())
