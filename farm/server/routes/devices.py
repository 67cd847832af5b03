"""The devices of the farm."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from farm.errors import NotFoundError, SelectorError
from farm.selectors import parse
from farm.server.auth import Reader
from farm.server.problems import documented
from farm.server.resources import Farm
from farm.types import Device, Name

router = APIRouter(prefix="/devices", tags=["devices"])


@router.get("", responses=documented(SelectorError))
def devices(
    farm: Farm, caller: Reader, selector: Annotated[str | None, Query(max_length=10_000)] = None
) -> list[Device]:
    """All that match the selector's terms; its quantifier counts at submission only."""
    wanted = parse(selector) if selector is not None else None
    with farm.store.reading() as reading:
        return [device for device in reading.devices() if wanted is None or wanted.matches(device)]


@router.get("/{device_id}", responses=documented(NotFoundError))
def device(device_id: Name, farm: Farm, caller: Reader) -> Device:
    with farm.store.reading() as reading:
        return reading.device(device_id)
