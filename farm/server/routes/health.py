"""Is the farm alive? The only route without a token."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter

import farm
from farm.server.problems import documented
from farm.server.resources import Farm, now
from farm.server.route import Route
from farm.types import Frozen

router = APIRouter(tags=["health"], route_class=Route)

COORDINATOR = "coordinator"  # its name among the heartbeats
AWAY_SECONDS = 10.0


class Health(Frozen):
    """``coordinator`` is away when it was not heard of for ten seconds, or never: then submissions wait."""

    status: Literal["ok"]
    version: str
    coordinator: Literal["running", "away"]
    coordinator_seen_seconds: float | None


@router.get("/health", responses=documented(public=True))
def health(resources: Farm) -> Health:
    with resources.store.reading() as reading:
        age = reading.heartbeat_age(COORDINATOR, now())
    return Health(
        status="ok",
        version=farm.__version__,
        coordinator="running" if age is not None and age <= AWAY_SECONDS else "away",
        coordinator_seen_seconds=age,
    )
