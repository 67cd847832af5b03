"""What nights found to be worse, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Body, Query
from fastapi.responses import HTMLResponse

from farm.errors import ConflictError, ForbiddenError, NotFoundError
from farm.report import regression as page_of
from farm.server.auth import Reader, Writer
from farm.server.parameters import Id
from farm.server.problems import documented
from farm.server.resources import Farm, now
from farm.server.route import Route
from farm.store.reading import Reading, Token
from farm.store.transaction import Transaction
from farm.sweeps.search import begun_again
from farm.types import HistoryPoint, Name, Night, Regression, RegressionState, Role

router = APIRouter(prefix="/regressions", tags=["regressions"], route_class=Route)

NIGHTS_SHOWN = 120
POINTS_READ = 1000  # among them what was measured beside the nights

Reason = Annotated[str, Body(embed=True, min_length=1, max_length=2000)]


@router.get("", responses=documented(NotFoundError))
def regressions(
    farm: Farm,
    caller: Reader,
    sweep: Name | None = None,
    state: Annotated[list[RegressionState], Query()] = [],  # noqa: B006 - read only
    device: Name | None = None,
    variant: Name | None = None,
    night: Id | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Id | None = None,
) -> list[Regression]:
    """The newest first; `before` is the id to go on from. `device` and `variant` are of the series that shows it most;
    `state` may be given several times."""
    with farm.store.reading() as reading:
        if sweep is not None:
            reading.sweep(sweep)
        return reading.regressions(
            sweep=sweep, states=state, device=device, variant=variant, night_id=night, limit=limit, before=before
        )


@router.get("/{id}", responses=documented(NotFoundError))
def regression(id: Id, farm: Farm, caller: Reader) -> Regression:
    with farm.store.reading() as reading:
        return reading.regression(id)


@router.get("/{id}/page", response_class=HTMLResponse, responses=documented(NotFoundError))
def page(id: Id, farm: Farm, caller: Reader) -> HTMLResponse:
    """What, where, how much, since when, and how that is known, as one HTML document. It runs no script."""
    with farm.store.reading() as reading:
        found = reading.regression(id)
        nights = {night.id: night for night in reading.nights(found.key.sweep, limit=NIGHTS_SHOWN)}
        points = _points(reading, found, nights)
    headers = {"Content-Security-Policy": page_of.POLICY, "X-Content-Type-Options": "nosniff"}
    return HTMLResponse(page_of.render(found, points, nights), headers=headers)


def _points(reading: Reading, found: Regression, nights: Mapping[int, Night]) -> list[HistoryPoint]:
    """Of the series that shows it most, the oldest first; without what is measured beside the nights."""
    key, worst = found.key, found.worst
    points: list[HistoryPoint] = []
    for name in {reading.model(origin.model_id).spec.name for origin in (worst.old, worst.new) if origin}:
        points += reading.history(
            model_name=name, variant=key.variant, device_id=key.device, scenario=key.scenario, limit=POINTS_READ
        )
    mine = [point for point in points if point.night_id in nights]
    return sorted(mine, key=lambda point: point.measured_at)


@router.post("/{id}/close", responses=documented(NotFoundError, ConflictError))
def close(id: Id, reason: Reason, farm: Farm, caller: Writer) -> Regression:
    """Not to be followed any longer. Owners of the sweep close its regressions, admins any."""
    with farm.store.transaction() as tx:
        _owned(tx, id, caller)
        return tx.close_regression(id, f"closed by {caller.name}: {reason}", now())


@router.post("/{id}/search", responses=documented(NotFoundError, ConflictError))
def search(id: Id, farm: Farm, caller: Writer) -> Regression:
    """Search once more for the version it came with, where a search ended without one: what it could measure is kept.
    For the owner of the sweep and admins."""
    with farm.store.transaction() as tx:
        searched = begun_again(_owned(tx, id, caller), now())
        tx.set_regression(searched)
        return searched


def _owned(tx: Transaction, id: int, caller: Token) -> Regression:
    """Raises ForbiddenError where its sweep is somebody else's."""
    found = tx.regression(id)
    owner = tx.sweep(found.key.sweep).created_by
    if caller.role is not Role.ADMIN and owner != caller.name:
        raise ForbiddenError(f"Regression {id} is of a sweep of {owner}.", remedy=f"Ask {owner} or an admin.")
    return found
