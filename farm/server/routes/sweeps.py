"""Sweeps and their nights."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from farm.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RecipeSpecError,
    SelectorError,
    TooLargeError,
    UserError,
)
from farm.server.auth import Reader, Writer
from farm.server.parameters import PAGE, Id, PageLimit
from farm.server.problems import documented
from farm.server.resources import Farm, now
from farm.server.route import Route
from farm.store.reading import Token
from farm.sweeps import firing
from farm.sweeps.checking import check
from farm.sweeps.plan import plan as plan_of
from farm.sweeps.plan import problem_of
from farm.types import Name, Night, Role, Sweep, SweepPlan, SweepSpec

router = APIRouter(prefix="/sweeps", tags=["sweeps"], route_class=Route)


@router.put("/{name}", responses=documented(NotFoundError, SelectorError, RecipeSpecError, TooLargeError))
def apply(name: Name, spec: SweepSpec, farm: Farm, caller: Writer) -> Sweep:
    """Make it, or put it in place of the one of that name, which keeps its owner and nights. Idempotent. Owners change
    their own, admins any."""
    if spec.name != name:
        raise UserError(f"The sweep is called {spec.name}, not {name}.", remedy=f"Send it to /sweeps/{spec.name}.")
    check(spec)
    if problem := problem_of(spec.model, farm.settings):
        raise problem
    with farm.store.transaction() as tx:
        if found := tx.find_sweep(name):
            _check_owner(caller, found)
        return firing.apply(tx, spec, caller.name, now())


@router.post("/plan", responses=documented(NotFoundError, SelectorError, RecipeSpecError, TooLargeError))
def plan(spec: SweepSpec, farm: Farm, caller: Writer) -> SweepPlan:
    """What applying it would change, and what a night would come to. Changes nothing."""
    with farm.store.reading() as reading:
        found = plan_of(spec, reading, farm.settings, now())
    problem = problem_of(spec.model, farm.settings)
    return found.model_copy(update={"warnings": (*found.warnings, str(problem))}) if problem else found


@router.get("", responses=documented())
def sweeps(farm: Farm, caller: Reader, limit: PageLimit = PAGE, after: str = "") -> list[Sweep]:
    """By name; `after` is the name to go on from. A page with fewer than `limit` is the last one."""
    with farm.store.reading() as reading:
        return reading.sweeps(limit, after)


@router.get("/{name}", responses=documented(NotFoundError))
def sweep(name: Name, farm: Farm, caller: Reader) -> Sweep:
    with farm.store.reading() as reading:
        return reading.sweep(name)


@router.delete("/{name}", status_code=204, responses=documented(NotFoundError, ConflictError))
def remove(name: Name, farm: Farm, caller: Writer) -> None:
    """With its nights and regressions; its runs and the history of results stay. Not while a night is under way."""
    with farm.store.transaction() as tx:
        _check_owner(caller, tx.sweep(name))
        firing.remove(tx, name)


@router.post("/{name}/run", status_code=201, responses=documented(NotFoundError, ConflictError, TooLargeError))
def run(name: Name, farm: Farm, caller: Writer) -> Night:
    """A night now, also of a sweep that is paused; it waits for an earlier one that is under way."""
    with farm.store.transaction() as tx:
        _check_owner(caller, tx.sweep(name))
        return firing.ask(tx, name, caller.name, now())


@router.post("/{name}/pause", responses=documented(NotFoundError, TooLargeError))
def pause(name: Name, farm: Farm, caller: Writer) -> Sweep:
    """Nothing is due until it is resumed; what is under way goes on. Idempotent."""
    with farm.store.transaction() as tx:
        _check_owner(caller, tx.sweep(name))
        return firing.pause(tx, name, now())


@router.post("/{name}/resume", responses=documented(NotFoundError, TooLargeError))
def resume(name: Name, farm: Farm, caller: Writer) -> Sweep:
    """From now on; what would have been due in the meantime is not missed. Idempotent."""
    with farm.store.transaction() as tx:
        _check_owner(caller, tx.sweep(name))
        return firing.resume(tx, name, now())


@router.get("/{name}/nights", responses=documented(NotFoundError))
def nights(
    name: Name, farm: Farm, caller: Reader, limit: Annotated[int, Query(ge=1, le=500)] = 50, before: Id | None = None
) -> list[Night]:
    """The newest first; `before` is the id to go on from."""
    with farm.store.reading() as reading:
        reading.sweep(name)
        return reading.nights(name, limit, before)


def _check_owner(caller: Token, sweep: Sweep) -> None:
    if caller.role is not Role.ADMIN and sweep.created_by != caller.name:
        raise ForbiddenError(
            f"Sweep {sweep.spec.name} belongs to {sweep.created_by}.",
            remedy=f"Ask {sweep.created_by} or an admin, or give yours another name.",
        )
