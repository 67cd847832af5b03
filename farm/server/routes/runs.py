"""Submissions: what to measure, how it goes, what came out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Query
from sse_starlette import EventSourceResponse, ServerSentEvent

from farm.coordinator.enquiry import MAX_JOBS as MAX_WAITS
from farm.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    QuotaError,
    RecipeSpecError,
    SelectorError,
    TooLargeError,
)
from farm.planning.expansion import find_known
from farm.planning.quotas import check_jobs
from farm.planning.submission import expanded
from farm.server.auth import Reader, Writer
from farm.server.events import Tail
from farm.server.parameters import PAGE, Id, PageLimit, Seq
from farm.server.problems import documented
from farm.server.resources import Farm, now
from farm.server.route import Route
from farm.server.waits import waits
from farm.store.reading import Token
from farm.store.retention import delete_run
from farm.types import JobOutcome, JobWait, Role, Run, RunSpec, RunState

router = APIRouter(prefix="/runs", tags=["runs"], route_class=Route)

HEARTBEAT_SECONDS = 15


@router.post(
    "",
    status_code=201,
    responses=documented(NotFoundError, SelectorError, RecipeSpecError, TooLargeError, QuotaError),
)
def submit(spec: RunSpec, farm: Farm, caller: Writer) -> Run:
    """Expand into jobs and queue them. Nothing is queued if anything about it is wrong."""
    with farm.store.reading() as reading:
        spec, model, expansion = expanded(spec, reading, farm.settings)
    with farm.store.transaction() as transaction:
        check_jobs(farm.settings, transaction, caller.name, len(expansion.jobs))
        known = {build.key: build.state for build in transaction.builds(sorted(expansion.builds))}
        run = transaction.add_run(spec, model, expansion.jobs, expansion.builds, caller.name, now(), expansion.pools)
    farm.monitor.builds_asked(known.get(key) for key in expansion.builds)
    farm.nudge.send()
    return run


@router.post("/known", responses=documented(NotFoundError, SelectorError, RecipeSpecError, TooLargeError))
def known(spec: RunSpec, farm: Farm, caller: Reader) -> list[JobOutcome]:
    """What this submission would measure, where all of it was measured before by the same artifacts, devices, scenarios
    and protocol; else nothing. Where the selector leaves a choice of devices, nothing is known."""
    with farm.store.reading() as reading:
        spec, _, expansion = expanded(spec, reading, farm.settings)
        measured = reading.measured(sorted(expansion.builds))
        protocols = {id: reading.run_spec(id).protocol for id in {outcome.job.run_id for outcome in measured}}
    return find_known(expansion.jobs, [one for one in measured if protocols[one.job.run_id] == spec.protocol])


@router.get("", responses=documented())
def runs(
    farm: Farm,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    before: Id | None = None,
    model: Annotated[str | None, Query(max_length=100)] = None,
    name: Annotated[str | None, Query(max_length=200)] = None,
    state: RunState | None = None,
) -> list[Run]:
    """The newest first; `before` is the id to go on from. `model` and `name` are those of the model and of the run."""
    with farm.store.reading() as reading:
        return reading.runs(limit, before, model=model, name=name, state=state)


@router.get("/{run_id}", responses=documented(NotFoundError))
def run(run_id: Id, farm: Farm, caller: Reader) -> Run:
    with farm.store.reading() as reading:
        return reading.run(run_id)


@router.post("/{run_id}/cancel", responses=documented(NotFoundError, ConflictError, TooLargeError))
def cancel(run_id: Id, farm: Farm, caller: Writer) -> Run:
    """Ask for it; the coordinator ends the jobs. Idempotent. Users cancel their own runs, admins any."""
    with farm.store.transaction() as transaction:
        _check_owner(caller, transaction.run(run_id), "cancel")
        cancelled = transaction.request_cancel(run_id, now())
    farm.nudge.send()
    return cancelled


@router.delete("/{run_id}", status_code=204, responses=documented(NotFoundError, ConflictError))
def delete(run_id: Id, farm: Farm, caller: Writer) -> None:
    """With its jobs and results, for good; only when it is over. Users delete their own runs, admins any."""
    with farm.store.reading() as reading:
        _check_owner(caller, reading.run(run_id), "delete")
    for _ in delete_run(farm.store, run_id):
        pass


@router.get("/{run_id}/outcomes", responses=documented(NotFoundError))
def outcomes(
    run_id: Id, farm: Farm, caller: Reader, limit: PageLimit = PAGE, after: Id | None = None
) -> list[JobOutcome]:
    """Jobs with their devices, artifacts and results as far as they are known, ordered by job; `after` is the id of the
    job to go on from. A page with fewer than `limit` is the last one."""
    with farm.store.reading() as reading:
        reading.run_spec(run_id)
        return reading.outcomes(run_id, limit, after or 0)


@router.get("/{run_id}/waits", responses=documented(NotFoundError))
def run_waits(run_id: Id, farm: Farm, caller: Reader) -> list[JobWait]:
    """Why jobs of the run have not started, at most 500. `live` says whether the coordinator answered."""
    with farm.store.reading() as reading:
        reading.run(run_id)
        waiting = reading.waiting_jobs(run_id, MAX_WAITS)
    return waits(waiting, farm.enquiry)


@router.get(
    "/{run_id}/events",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "Server-sent events: `id` is the sequence number, `event` the kind, `data` an Event.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **documented(NotFoundError),
    },
)
async def events(
    run_id: Id,
    farm: Farm,
    caller: Reader,
    after: Seq = 0,
    last_event_id: Annotated[Seq, Header()] = 0,
) -> EventSourceResponse:
    """Events after a sequence number, past and live, until the run ends."""
    await asyncio.to_thread(run, run_id, farm, caller)
    return EventSourceResponse(
        _messages(farm.tail, run_id, max(after, last_event_id)),
        ping=HEARTBEAT_SECONDS,
        sep="\n",
        shutdown_grace_period=1.0,
    )


def _check_owner(caller: Token, run: Run, what: str) -> None:
    if caller.role is not Role.ADMIN and run.created_by != caller.name:
        raise ForbiddenError(
            f"Run {run.id} belongs to {run.created_by}.", remedy=f"Ask {run.created_by} or an admin to {what} it."
        )


async def _messages(tail: Tail, run_id: int, after: int) -> AsyncIterator[ServerSentEvent]:
    async with aclosing(tail.follow(run_id, after)) as events:
        async for event in events:
            yield ServerSentEvent(event.model_dump_json(), id=str(event.seq), event=event.kind, sep="\n")
