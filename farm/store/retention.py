"""Deletes runs, and what only they needed, in steps so small that nobody waits for one.

Models and builds stay: a build is what the next run of its model takes from the cache. With a job go its attempts and
its result, with the last job of a build its log. Their files are noted as loose in the same transaction and removed by
``discard_loose_blobs``, so a crash in between leaves nothing behind. A file goes only if nothing refers to it and it
was not stored just now, for then somebody is about to refer to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import sqlalchemy as sa

from farm.errors import ConflictError, NotFoundError
from farm.store import loose, tables
from farm.store.ages import Ages, run_limits
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.store.thinning import thin
from farm.types import Blob, Result, RunState

JOBS_PER_STEP = 100
EVENTS_PER_STEP = 1_000
LINES_PER_STEP = 500
BLOBS_PER_STEP = 50
PAGES_PER_STEP = 500
CHECKPOINT_SECONDS = 14 * 86_400.0  # since one was written or used last
SETTLED_SECONDS = 3_600.0  # more than any time between the storing of a file and the commit that refers to it


def sweep(store: Store, artifacts: ArtifactStore, ages: Ages, now: datetime) -> Iterator[None]:
    """Delete the runs that are too old, thin the samples of those that stay and shorten history, then discard what has
    become loose, and checkpoints of trainings that nobody went on with. Yields after every step."""
    for run_id in _ended(store, ages, now):
        yield from delete_run(store, run_id)
    yield from thin(store, artifacts, ages, now)
    if ages.history_days is not None:
        yield from _shorten_history(store, now - timedelta(days=ages.history_days))
    yield from discard_loose_blobs(store, artifacts)
    artifacts.discard_checkpoints(min_age_seconds=CHECKPOINT_SECONDS)
    yield
    yield from _give_space_back(store)


def delete_run(store: Store, run_id: int) -> Iterator[None]:
    """Yields after every step; repeat it where it was broken off. Meanwhile the run has ever fewer jobs.

    Raises NotFoundError, and ConflictError while the run is active or a result of it is still being worked out.
    """
    while True:
        with store.connected(writing=True) as connection:
            _check_over(connection, run_id)
            if not (_delete_jobs(connection, run_id) or _delete_events(connection, run_id)):
                connection.execute(sa.delete(tables.pools).where(tables.pools.c.run_id == run_id))
                connection.execute(sa.delete(tables.runs).where(tables.runs.c.id == run_id))
                return
        yield


def discard_loose_blobs(
    store: Store, artifacts: ArtifactStore, settled_seconds: float = SETTLED_SECONDS
) -> Iterator[None]:
    """Remove the files that are noted as loose and that nothing refers to. Yields after every step."""
    with store.connected(writing=False) as connection:
        noted = set(connection.execute(sa.select(tables.loose_blobs.c.sha256)).scalars())
        unused = sorted(noted - _used(connection)) if noted else []
    for first in range(0, len(unused), BLOBS_PER_STEP):
        with store.connected(writing=True) as connection:
            # A model may be of files that were here before it. Who stores a file makes it new.
            step = set(unused[first : first + BLOBS_PER_STEP]) - _used_by_models(connection)
            gone = [sha256 for sha256 in step if artifacts.discard(sha256, min_age_seconds=settled_seconds)]
            connection.execute(sa.delete(tables.loose_blobs).where(tables.loose_blobs.c.sha256.in_(gone)))
        yield


def _ended(store: Store, ages: Ages, now: datetime) -> list[int]:
    table = tables.runs.c
    over = sa.and_(table.state != RunState.ACTIVE, ~_has_open_attempt(table.id))
    ids: set[int] = set()
    with store.connected(writing=False) as connection:
        for limit in run_limits(connection, table.id, ages, now):
            query = sa.select(table.id).where(over, table.finished_at < limit.before, limit.of_run)
            ids |= set(connection.execute(query).scalars())
    return sorted(ids)


def _shorten_history(store: Store, before: datetime) -> Iterator[None]:
    """From the oldest job on, as long as what it comes to is too old: no index is needed for that."""
    table = tables.history
    oldest = sa.select(table.c.job_id, table.c.measured_at).order_by(table.c.job_id).limit(LINES_PER_STEP)
    while True:
        with store.connected(writing=True) as connection:
            old = [row.job_id for row in connection.execute(oldest) if row.measured_at < before]
            if not old:
                return
            connection.execute(sa.delete(table).where(table.c.job_id.in_(old)))
        yield


def _check_over(connection: sa.Connection, run_id: int) -> None:
    table = tables.runs.c
    row = connection.execute(
        sa.select(table.state, _has_open_attempt(table.id).label("measuring")).where(table.id == run_id)
    ).first()
    if row is None:
        raise NotFoundError(f"No run {run_id}.", remedy="`farm runs list` shows the runs there are.")
    if row.state == RunState.ACTIVE:
        raise ConflictError(f"Run {run_id} is active.", remedy="Cancel it first, or wait for its end.")
    if row.measuring:
        raise ConflictError(f"A result of run {run_id} is being worked out.", remedy="Try again in a moment.")


def _has_open_attempt(run_id: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    jobs, attempts = tables.jobs, tables.attempts
    of_run = sa.select(attempts.c.id).join(jobs, jobs.c.id == attempts.c.job_id).where(jobs.c.run_id == run_id)
    return of_run.where(attempts.c.state.in_(["leased", "running"])).exists()


def _delete_jobs(connection: sa.Connection, run_id: int) -> int:
    """Some of its jobs; how many."""
    jobs, attempts, results = tables.jobs, tables.attempts, tables.results
    first = sa.select(jobs.c.id).where(jobs.c.run_id == run_id).order_by(jobs.c.id).limit(JOBS_PER_STEP)
    job_ids = list(connection.execute(first).scalars())
    builds = connection.execute(sa.select(jobs.c.build_key, jobs.c.reference_key).where(jobs.c.id.in_(job_ids))).all()
    records = sa.select(attempts.c.measurement).where(attempts.c.job_id.in_(job_ids))
    samples = sa.select(results.c.samples).where(results.c.job_id.in_(job_ids))
    concluded = sa.select(results.c.result).where(results.c.job_id.in_(job_ids))
    blobs: list[Blob | None] = [*connection.execute(records).scalars(), *connection.execute(samples).scalars()]
    blobs += [_outputs(result) for result in connection.execute(concluded).scalars()]
    loose.note(connection, {blob.sha256 for blob in blobs if blob})
    for table in (results, attempts):
        connection.execute(sa.delete(table).where(table.c.job_id.in_(job_ids)))
    connection.execute(sa.delete(jobs).where(jobs.c.id.in_(job_ids)))
    _forget_logs(connection, {key for row in builds for key in row if key})
    return len(job_ids)


def _forget_logs(connection: sa.Connection, keys: set[str]) -> None:
    """Of those of these builds that no job is left of; their artifacts stay for the next run."""
    jobs, builds = tables.jobs.c, tables.builds
    for row in connection.execute(sa.select(builds).where(builds.c.key.in_(sorted(keys)))).all():
        used = sa.or_(jobs.build_key == row.key, jobs.reference_key == row.key)
        if (
            loose.build_log(row.artifact, row.failure) is None
            or connection.execute(sa.select(used).where(used)).first()
        ):
            continue
        artifact, failure = row.artifact, row.failure
        if artifact:
            artifact = artifact.model_copy(update={"report": artifact.report.model_copy(update={"log": None})})
        if failure:
            failure = failure.model_copy(update={"log": None})
        loose.note_logs(connection, [row.key])
        connection.execute(sa.update(builds).where(builds.c.key == row.key).values(artifact=artifact, failure=failure))


def _delete_events(connection: sa.Connection, run_id: int) -> int:
    events = tables.events
    first = sa.select(events.c.seq).where(events.c.run_id == run_id).order_by(events.c.seq).limit(EVENTS_PER_STEP)
    return connection.execute(sa.delete(events).where(events.c.seq.in_(first))).rowcount


def _used(connection: sa.Connection) -> set[str]:
    """Every file that a row refers to: reads them all."""
    used = _used_by_models(connection)
    for artifact, failure in connection.execute(sa.select(tables.builds.c.artifact, tables.builds.c.failure)).all():
        used |= {file.sha256 for file in artifact.files} if artifact else set()
        if log := loose.build_log(artifact, failure):
            used.add(log.sha256)
    for column in (tables.attempts.c.measurement, tables.results.c.samples):
        used |= {blob.sha256 for blob in connection.execute(sa.select(column)).scalars() if blob}
    for result in connection.execute(sa.select(tables.results.c.result)).scalars():
        used |= {blob.sha256} if (blob := _outputs(result)) else set()
    return used


def _outputs(result: Result) -> Blob | None:
    return result.evaluation.outputs if result.evaluation else None


def _used_by_models(connection: sa.Connection) -> set[str]:
    specs = connection.execute(sa.select(tables.models.c.spec)).scalars()
    return {blob.sha256 for spec in specs for blob in spec.blobs}


def _give_space_back(store: Store) -> Iterator[None]:
    """SQLite keeps what was deleted as free pages; PostgreSQL sees to its own."""
    while store.free_pages(give_back=PAGES_PER_STEP):
        yield
