"""What was measured over time: a line per result, which stays when the run is deleted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from farm.errors import NotFoundError
from farm.server.auth import Reader
from farm.server.parameters import PAGE, Id, PageLimit
from farm.server.problems import documented
from farm.server.resources import Farm
from farm.server.route import Route
from farm.types import HistoryPoint, MissingNight

router = APIRouter(prefix="/history", tags=["history"], route_class=Route)

Text = Annotated[str, Query(min_length=1, max_length=200)]


@router.get("", responses=documented(NotFoundError))
def history(
    farm: Farm,
    caller: Reader,
    model: Text | None = None,
    variant: Text | None = None,
    device: Text | None = None,
    scenario: Text | None = None,
    since: AwareDatetime | None = None,
    limit: PageLimit = PAGE,
    before: Id | None = None,
) -> list[HistoryPoint]:
    """The newest first; `before` is the id of the job to go on from. A page with fewer than `limit` is the
    last one. A model, and a variant or a device of it, of which nothing was ever measured is an error."""
    with farm.store.reading() as reading:
        if model is not None:
            reading.check_series(model, variant, device)
        return reading.history(
            model_name=model,
            variant=variant,
            device_id=device,
            scenario=scenario,
            since=since,
            limit=limit,
            before=before,
        )


@router.get("/missing", responses=documented(NotFoundError))
def missing(
    farm: Farm,
    caller: Reader,
    model: Text,
    variant: Text,
    device: Text,
    scenario: Text | None = None,
    since: AwareDatetime | None = None,
) -> list[MissingNight]:
    """Nights of the sweeps that have this series which left no result in it, the oldest first."""
    with farm.store.reading() as reading:
        reading.check_series(model, variant, device)
        return reading.missing_nights(model, variant, device, scenario=scenario, since=since)
