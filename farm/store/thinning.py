"""Replaces raw samples that are too old by what tells their distribution and their drift, in short steps.

A step writes the small files first and then, in one transaction, has the results refer to them and notes the old files
as loose. One that was broken off in between is repeated: the same samples give the same file. The raw record of such a
job holds its samples, too, and goes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime

import sqlalchemy as sa

from farm.errors import FarmError, NotFoundError
from farm.store import loose, samples, tables
from farm.store.ages import Ages, sample_limits
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.types import Blob

log = logging.getLogger(__name__)

JOBS_PER_STEP = 10
FILE_NAME = "thinned-samples.parquet"


def thin(store: Store, artifacts: ArtifactStore, ages: Ages, now: datetime) -> Iterator[None]:
    """Yields after every step."""
    while found := _due(store, ages, now):
        thinned = {job_id: _thinned(artifacts, job_id, blob) for job_id, blob in found}
        with store.connected(writing=True) as connection:
            for job_id, old in found:
                _settle(connection, job_id, old, thinned[job_id])
        yield


def _due(store: Store, ages: Ages, now: datetime) -> list[tuple[int, Blob]]:
    results, jobs = tables.results.c, tables.jobs.c
    with store.connected(writing=False) as connection:
        for limit in sample_limits(connection, jobs.run_id, ages, now):
            query = (
                sa.select(results.job_id, results.samples)
                .join(tables.jobs, jobs.id == results.job_id)
                .where(~results.thinned, results.measured_at < limit.before, limit.of_run)
                .order_by(results.measured_at)
                .limit(JOBS_PER_STEP)
            )
            if found := [(row.job_id, row.samples) for row in connection.execute(query)]:
                return found
    return []


def _thinned(artifacts: ArtifactStore, job_id: int, blob: Blob) -> Blob | None:
    """None where they are few already, or cannot be read. Raises InfrastructureError where the store does not serve."""
    try:
        with artifacts.open(blob.sha256) as file:
            content = file.read()
    except NotFoundError:
        return None  # nothing to save
    try:
        smaller = samples.thinned(samples.read(content))
    except FarmError as error:
        log.warning("The samples of job %d stay as they are: %s", job_id, error)
        return None
    return artifacts.put([smaller], FILE_NAME) if smaller else None


def _settle(connection: sa.Connection, job_id: int, old: Blob, new: Blob | None) -> None:
    results, attempts = tables.results, tables.attempts
    kept = {"thinned": True} | ({"samples": new} if new else {})
    is_there = sa.and_(results.c.job_id == job_id, ~results.c.thinned)
    settled = connection.execute(sa.update(results).where(is_there).values(**kept)).rowcount
    if new is None:
        return
    if not settled:  # deleted meanwhile
        loose.note(connection, {new.sha256})
        return
    records = sa.and_(attempts.c.job_id == job_id, attempts.c.measurement.is_not(None))
    blobs = [old, *connection.execute(sa.select(attempts.c.measurement).where(records)).scalars()]
    loose.note(connection, {blob.sha256 for blob in blobs})
    connection.execute(sa.update(attempts).where(records).values(measurement=None))
