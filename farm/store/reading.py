"""Every query that only reads. ``Transaction`` adds those that write."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from farm.errors import NotFoundError, UserError
from farm.store import tables
from farm.store.census import CensusReading
from farm.store.devices import OPEN_ATTEMPT_STATES, DeviceReading
from farm.store.history import HistoryReading
from farm.store.notices import NoticeReading
from farm.store.outbox import OutboxReading
from farm.store.preparations import PreparationReading
from farm.store.regressions import RegressionReading
from farm.store.statement import as_value
from farm.store.sweeps import SweepReading
from farm.types import (
    Artifact,
    Attempt,
    Blob,
    Build,
    Event,
    Job,
    JobOutcome,
    JobState,
    Model,
    ModelSpec,
    Recipe,
    Result,
    Role,
    Run,
    RunSpec,
    RunState,
    Scenario,
)

_MODEL_REF = re.compile(r"[A-Za-z0-9._-]{1,100}")
_ID_PREFIX = re.compile(r"[0-9a-f]{4,64}")
_MODEL_COLUMNS = [tables.models.c[name] for name in Model.model_fields]
_MEASURED = 1000  # how far back what was measured before is looked for
_AT_ONCE = 500  # values in one statement
WAITING_STATES = (JobState.WAITING, JobState.QUEUED, JobState.LEASED)
_RUN_COLUMNS = [tables.runs.c[name] for name in Run.model_fields if name != "jobs"]


class Token(NamedTuple):
    """Who a bearer token belongs to. The token itself is known to its holder only."""

    name: str
    role: Role


class OpenJob(NamedTuple):
    """What the coordinator needs of a job."""

    id: int
    device_id: str
    build_key: str
    reference_key: str | None
    state: JobState
    epoch: int
    pool: int | None
    slot: int


class LeaseParts(NamedTuple):
    """What an agent is told of a job: ``reference_artifact`` where the upload had no reference outputs."""

    recipe: Recipe
    scenario: Scenario
    run: RunSpec
    model: ModelSpec
    artifact: Artifact | None
    reference_artifact: Artifact | None


class ConclusionParts(NamedTuple):
    """What a result is worked out from, beside the measurement."""

    job: Job
    run: RunSpec
    artifact: Artifact | None
    model: ModelSpec
    reference_artifact: Artifact | None


class Reading(
    DeviceReading,
    OutboxReading,
    CensusReading,
    RegressionReading,
    SweepReading,
    NoticeReading,
    HistoryReading,
    PreparationReading,
):
    """One consistent view of the database."""

    # --- tokens --------------------------------------------------------------------------------------

    def token(self, sha256: str) -> Token | None:
        row = self._first(sa.select(tables.tokens.c.name, tables.tokens.c.role).where(tables.tokens.c.sha256 == sha256))
        return Token(row.name, Role(row.role)) if row else None

    def tokens(self) -> list[Token]:
        rows = self._connection.execute(
            sa.select(tables.tokens.c.name, tables.tokens.c.role).order_by(tables.tokens.c.name)
        )
        return [Token(row.name, Role(row.role)) for row in rows]

    # --- models and builds ---------------------------------------------------------------------------

    def model(self, ref: str) -> Model:
        """By id, by name (the newest of that name), or by unique prefix of an id (at least 4 characters).

        Raises NotFoundError, and UserError where a prefix fits several models.
        """
        query = sa.select(*_MODEL_COLUMNS)
        table = tables.models.c
        newest = query.where(sa.or_(table.id == ref, table.name == ref)).order_by(table.uploaded_at.desc())
        if _MODEL_REF.fullmatch(ref) and (row := self._first(newest)):
            return as_value(Model, row)
        if _ID_PREFIX.fullmatch(ref):
            rows = self._connection.execute(query.where(table.id.startswith(ref)).limit(2)).all()
            if len(rows) > 1:
                raise UserError(f"Several models have an id that starts with {ref}.", remedy="Give more characters.")
            if rows:
                return as_value(Model, rows[0])
        names = self._connection.execute(sa.select(table.name).distinct()).scalars().all()
        near = difflib.get_close_matches(ref, names, n=3)
        raise NotFoundError(
            f"No model {ref!r}.",
            remedy=f"Did you mean {' or '.join(near)}?" if near else "Upload it first (`farm models add`).",
        )

    def models(self, limit: int = 100) -> list[Model]:
        """The newest first."""
        rows = self._connection.execute(
            sa.select(*_MODEL_COLUMNS).order_by(tables.models.c.uploaded_at.desc(), tables.models.c.id).limit(limit)
        )
        return [as_value(Model, row) for row in rows]

    def build(self, key: str) -> Build:
        """Raises NotFoundError."""
        found = self.builds([key])
        if not found:
            raise NotFoundError(f"No build {key[:12]}.", remedy="Take its key from a job of the run.")
        return found[0]

    def find_build(self, ref: str) -> Build:
        """By key, or by a unique prefix of it. Raises NotFoundError, UserError."""
        rows = self._connection.execute(sa.select(tables.builds).where(tables.builds.c.key.startswith(ref)).limit(2))
        found = [as_value(Build, row) for row in rows]
        if len(found) > 1:
            raise UserError(f"Several builds have a key that starts with {ref}.", remedy="Give more characters.")
        return found[0] if found else self.build(ref)

    def newest_builds(self, limit: int, run_id: int | None = None) -> list[Build]:
        """Those that the newest jobs need (``run_id``: of that run) first."""
        jobs, builds = tables.jobs, tables.builds
        needs = [sa.select(jobs.c.id, column.label("key")) for column in (jobs.c.build_key, jobs.c.reference_key)]
        if run_id is not None:
            needs = [need.where(jobs.c.run_id == run_id) for need in needs]
        each = sa.union_all(*needs).subquery()
        last = sa.select(each.c.key, sa.func.max(each.c.id).label("job")).group_by(each.c.key).subquery()
        query = sa.select(builds).join(last, last.c.key == builds.c.key).order_by(last.c.job.desc(), builds.c.key)
        return [as_value(Build, row) for row in self._connection.execute(query.limit(limit))]

    def builds(self, keys: Sequence[str]) -> list[Build]:
        """Those of ``keys`` that exist, each once, ordered by key."""
        rows = self._connection.execute(
            sa.select(tables.builds).where(tables.builds.c.key.in_(sorted(set(keys)))).order_by(tables.builds.c.key)
        )
        return [as_value(Build, row) for row in rows]

    # --- runs and jobs -------------------------------------------------------------------------------

    def run(self, run_id: int) -> Run:
        """Raises NotFoundError."""
        found = self._runs(sa.select(*_RUN_COLUMNS).where(tables.runs.c.id == run_id))
        if not found:
            raise _no_run(run_id)
        return found[0]

    def lease_parts(self, job_id: int) -> LeaseParts:
        """In one query: this is on the way of every start. Raises NotFoundError."""
        row = self._connection.execute(_LEASE_PARTS, {"job": job_id}).first()
        if row is None:
            raise _no_job(job_id)
        return LeaseParts(*row)

    def conclusion_parts(self, job_id: int) -> ConclusionParts:
        """In one query. Raises NotFoundError."""
        row = self._connection.execute(_CONCLUSION_PARTS, {"job": job_id}).first()
        if row is None:
            raise _no_job(job_id)
        *job, spec, artifact, model, reference = row
        return ConclusionParts(Job(**dict(zip(Job.model_fields, job, strict=True))), spec, artifact, model, reference)

    def run_spec(self, run_id: int) -> RunSpec:
        """What was asked for. Counts no jobs, as ``run`` does. Raises NotFoundError."""
        row = self._first(sa.select(tables.runs.c.spec).where(tables.runs.c.id == run_id))
        if row is None:
            raise _no_run(run_id)
        spec: RunSpec = row.spec
        return spec

    def runs(
        self,
        limit: int = 50,
        before: int | None = None,
        *,
        model: str | None = None,
        name: str | None = None,
        state: RunState | None = None,
    ) -> list[Run]:
        """The newest first; ``before`` is the id to go on from. ``model`` and ``name``: of the model, of the run."""
        table = tables.runs.c
        query = sa.select(*_RUN_COLUMNS).order_by(table.id.desc()).limit(limit)
        if before is not None:
            query = query.where(table.id < before)
        for column, wanted in ((table.model_name, model), (table.name, name), (table.state, state)):
            if wanted is not None:
                query = query.where(column == wanted)
        return self._runs(query)

    def runs_after(self, run_id: int) -> list[Run]:
        """Active runs with a higher id, the oldest first."""
        active = sa.and_(tables.runs.c.id > run_id, tables.runs.c.state == RunState.ACTIVE)
        return self._runs(sa.select(*_RUN_COLUMNS).where(active).order_by(tables.runs.c.id))

    def cancel_requests(self) -> list[int]:
        """Active runs that somebody asked to cancel."""
        query = sa.select(tables.runs.c.id).where(
            tables.runs.c.cancel_requested_at.is_not(None), tables.runs.c.state == RunState.ACTIVE
        )
        return list(self._connection.execute(query.order_by(tables.runs.c.id)).scalars())

    def jobs(self, run_id: int, limit: int | None = None, after: int = 0) -> list[Job]:
        """In the order of the submission; ``after`` is the id to go on from."""
        table = tables.jobs.c
        rows = self._connection.execute(
            sa.select(tables.jobs).where(table.run_id == run_id, table.id > after).order_by(table.id).limit(limit)
        )
        return [as_value(Job, row) for row in rows]

    def waiting_jobs(self, run_id: int, limit: int) -> list[Job]:
        """The first of those that have not started."""
        waiting = sa.and_(tables.jobs.c.run_id == run_id, tables.jobs.c.state.in_(WAITING_STATES))
        rows = self._connection.execute(sa.select(tables.jobs).where(waiting).order_by(tables.jobs.c.id).limit(limit))
        return [as_value(Job, row) for row in rows]

    def open_jobs_of(self, user: str) -> int:
        """How many jobs of the user have not ended."""
        jobs, runs = tables.jobs.c, tables.runs.c
        query = (
            sa.select(sa.func.count())
            .select_from(tables.jobs.join(tables.runs, jobs.run_id == runs.id))
            .where(runs.created_by == user, runs.state == RunState.ACTIVE)
            .where(jobs.state.in_([state for state in JobState if not state.terminal]))
        )
        return self._connection.execute(query).scalar_one()

    def open_jobs(self, run_id: int) -> list[OpenJob]:
        """Those that have not ended, and of jobs that may choose their device all; without their documents: of 10,000
        in a moment."""
        table = tables.jobs.c
        is_open = table.state.in_([state for state in JobState if not state.terminal])
        rows = self._connection.execute(
            sa.select(*(table[name] for name in OpenJob._fields))
            .where(table.run_id == run_id, sa.or_(is_open, table.pool.is_not(None)))
            .order_by(table.id)
        )
        return [
            OpenJob(id, device_id, build_key, reference_key, JobState(state), epoch, pool, slot)
            for id, device_id, build_key, reference_key, state, epoch, pool, slot in rows
        ]

    def job(self, job_id: int) -> Job:
        """Raises NotFoundError."""
        row = self._first(sa.select(tables.jobs).where(tables.jobs.c.id == job_id))
        if row is None:
            raise _no_job(job_id)
        return as_value(Job, row)

    def attempts_of(self, job_id: int) -> list[Attempt]:
        rows = self._connection.execute(
            sa.select(tables.attempts).where(tables.attempts.c.job_id == job_id).order_by(tables.attempts.c.id)
        )
        return [as_value(Attempt, row) for row in rows]

    def open_attempts(self) -> list[Attempt]:
        """Leased or running."""
        rows = self._connection.execute(
            sa.select(tables.attempts)
            .where(tables.attempts.c.state.in_(OPEN_ATTEMPT_STATES))
            .order_by(tables.attempts.c.id)
        )
        return [as_value(Attempt, row) for row in rows]

    def outcomes(self, run_id: int, limit: int | None = None, after: int = 0) -> list[JobOutcome]:
        """``jobs`` with all that is known of them."""
        return self._with_results(self.jobs(run_id, limit, after))

    def _with_results(self, jobs: Sequence[Job]) -> list[JobOutcome]:
        artifacts = {build.key: build.artifact for build in self.builds(sorted({job.build_key for job in jobs}))}
        devices = {device.id: device for device in self.devices_named({job.device_id for job in jobs})}
        results: dict[int, Result] = {}
        for start in range(0, len(jobs), _AT_ONCE):
            ids = [job.id for job in jobs[start : start + _AT_ONCE]]
            rows = self._connection.execute(
                sa.select(tables.results.c.job_id, tables.results.c.result).where(tables.results.c.job_id.in_(ids))
            )
            results |= {row.job_id: row.result for row in rows}
        return [
            JobOutcome(
                job=job,
                device=devices[job.device_id],
                artifact=artifacts.get(job.build_key),
                result=results.get(job.id),
            )
            for job in jobs
        ]

    def measured(self, build_keys: Sequence[str]) -> list[JobOutcome]:
        """What was measured with these artifacts, in whatever run, the newest first."""
        jobs = [
            as_value(Job, row)
            for row in self._connection.execute(
                sa.select(tables.jobs)
                .where(tables.jobs.c.build_key.in_(build_keys), tables.jobs.c.state == JobState.FINISHED)
                .order_by(tables.jobs.c.id.desc())
                .limit(_MEASURED)
            )
        ]
        return self._with_results(jobs)

    def samples_blob(self, job_id: int) -> Blob | None:
        """Where the raw samples of the job's result are, if it has one."""
        row = self._first(sa.select(tables.results.c.samples).where(tables.results.c.job_id == job_id))
        return row.samples if row else None

    # --- events and heartbeats -----------------------------------------------------------------------

    def events_after(self, seq: int, run_id: int | None = None, limit: int = 500) -> list[Event]:
        """In the order they were committed, of all runs or of one."""
        query = sa.select(tables.events).where(tables.events.c.seq > seq).order_by(tables.events.c.seq).limit(limit)
        if run_id is not None:
            query = query.where(tables.events.c.run_id == run_id)
        return [as_value(Event, row) for row in self._connection.execute(query)]

    def last_event_seq(self) -> int:
        """Of all runs; 0 before the first event."""
        return self._connection.execute(sa.select(sa.func.max(tables.events.c.seq))).scalar() or 0

    def heartbeat_age(self, process: str, now: datetime) -> float | None:
        """Seconds since the process was last heard of; None if it never was."""
        row = self._first(sa.select(tables.heartbeats.c.at).where(tables.heartbeats.c.process == process))
        return max(0.0, (now - row.at).total_seconds()) if row else None

    # --- helpers -------------------------------------------------------------------------------------

    def _runs(self, query: sa.Select[Any]) -> list[Run]:
        rows = self._connection.execute(query).all()
        counts: dict[int, dict[JobState, int]] = {}
        counted = self._connection.execute(
            sa.select(tables.jobs.c.run_id, tables.jobs.c.state, sa.func.count())
            .where(tables.jobs.c.run_id.in_([row.id for row in rows]))
            .group_by(tables.jobs.c.run_id, tables.jobs.c.state)
        )
        for run_id, state, count in counted:
            counts.setdefault(run_id, {})[JobState(state)] = count
        return [Run(**row._mapping, jobs=counts.get(row.id, {})) for row in rows]


def _no_run(run_id: int) -> NotFoundError:
    return NotFoundError(f"No run {run_id}.", remedy="`farm runs list` shows the runs there are.")


def _no_job(job_id: int) -> NotFoundError:
    return NotFoundError(f"No job {job_id}.", remedy="`farm runs show RUN` lists the jobs of a run.")


def _model_of_job() -> sa.ColumnElement[str]:
    return sa.func.coalesce(tables.jobs.c.model_id, tables.runs.c.model_id)


def _lease_parts() -> sa.Select[Any]:
    jobs, runs, models, builds = tables.jobs, tables.runs, tables.models, tables.builds
    reference = builds.alias()
    return (
        sa.select(jobs.c.recipe, jobs.c.scenario, runs.c.spec, models.c.spec, builds.c.artifact, reference.c.artifact)
        .select_from(jobs.join(runs, runs.c.id == jobs.c.run_id).join(models, models.c.id == _model_of_job()))
        .join(builds, builds.c.key == jobs.c.build_key)
        .outerjoin(reference, reference.c.key == jobs.c.reference_key)
        .where(jobs.c.id == sa.bindparam("job"))
    )


def _conclusion_parts() -> sa.Select[Any]:
    jobs, runs, models, builds = tables.jobs, tables.runs, tables.models, tables.builds
    reference = builds.alias()
    return (
        sa.select(
            *(jobs.c[name] for name in Job.model_fields),
            *(runs.c.spec, builds.c.artifact, models.c.spec, reference.c.artifact),
        )
        .select_from(jobs.join(runs, runs.c.id == jobs.c.run_id).join(models, models.c.id == _model_of_job()))
        .join(builds, builds.c.key == jobs.c.build_key)
        .outerjoin(reference, reference.c.key == jobs.c.reference_key)
        .where(jobs.c.id == sa.bindparam("job"))
    )


_LEASE_PARTS = _lease_parts()
_CONCLUSION_PARTS = _conclusion_parts()
