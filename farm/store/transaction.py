"""Every query that writes. The caller commits by leaving ``Store.transaction()``; times are aware UTC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from farm.errors import ConflictError, NotFoundError
from farm.store import loose, tables
from farm.store.devices import DeviceWriting
from farm.store.history import HistoryWriting
from farm.store.notices import NoticeWriting
from farm.store.outbox import OutboxWriting
from farm.store.preparations import PreparationWriting
from farm.store.reading import Reading
from farm.store.regressions import RegressionWriting
from farm.store.sweeps import SweepWriting
from farm.types import (
    Artifact,
    Blob,
    BuildState,
    Event,
    Failure,
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


@dataclass(frozen=True)
class NewJob:
    """A job to be: what ``Transaction.add_run`` makes a ``farm.types.Job`` of."""

    recipe: Recipe
    build_key: str
    reference_key: str | None
    device_id: str
    scenario: Scenario
    reason: str = ""
    pool: int | None = None
    slot: int = 0
    model_id: str | None = None


@dataclass(frozen=True)
class JobChange:
    """A job's new state. ``epoch`` None keeps it."""

    job_id: int
    state: JobState
    reason: str = ""
    failure: Failure | None = None
    epoch: int | None = None


class Transaction(
    Reading,
    DeviceWriting,
    OutboxWriting,
    RegressionWriting,
    SweepWriting,
    NoticeWriting,
    HistoryWriting,
    PreparationWriting,
):
    """Reads and writes that become visible together, or not at all."""

    # --- tokens --------------------------------------------------------------------------------------

    def add_token(self, name: str, role: Role, sha256: str, at: datetime) -> None:
        """Raises ConflictError if the name is taken."""
        added = self._insert_new(tables.tokens, name=name, role=role, sha256=sha256, created_at=at)
        if not added:
            raise ConflictError(f"There is a token {name!r} already.", remedy="Choose another name, or revoke it.")

    def revoke_token(self, name: str) -> None:
        """Raises NotFoundError."""
        self._expect_row(
            self._connection.execute(sa.delete(tables.tokens).where(tables.tokens.c.name == name)), f"token {name!r}"
        )

    # --- models and builds ---------------------------------------------------------------------------

    def add_model(self, spec: ModelSpec, by: str, at: datetime) -> Model:
        """Idempotent: the same files under the same name stay one model, and become the newest of that name."""
        insert = self._insert(tables.models).values(
            id=spec.id, name=spec.name, spec=spec, created_by=by, created_at=at, uploaded_at=at
        )
        self._connection.execute(insert.on_conflict_do_update(index_elements=["id"], set_={"uploaded_at": at}))
        return self.model(spec.id)

    def set_build(
        self,
        key: str,
        state: BuildState,
        artifact: Artifact | None = None,
        failure: Failure | None = None,
        attempts: int | None = None,
    ) -> None:
        """``attempts`` None keeps the count. Raises NotFoundError."""
        loose.note_logs(self._connection, [key], kept=loose.build_log(artifact, failure))
        values: dict[str, Any] = {"state": state, "artifact": artifact, "failure": failure}
        if attempts is not None:
            values["attempts"] = attempts
        self._update(tables.builds, key, f"build {key[:12]}", **values)

    def _failed(self, keys: Iterable[str]) -> list[str]:
        table = tables.builds.c
        failed = sa.and_(table.key.in_(sorted(keys)), table.state == BuildState.FAILED)
        return list(self._connection.execute(sa.select(table.key).where(failed)).scalars())

    # --- runs and jobs -------------------------------------------------------------------------------

    def add_run(
        self,
        spec: RunSpec,
        model: Model,
        jobs: Sequence[NewJob],
        builds: Mapping[str, Recipe],
        by: str,
        at: datetime,
        pools: Mapping[int, Sequence[str]] | None = None,
    ) -> Run:
        """The run, its jobs (waiting), its builds by key, the pools that jobs refer to, and its first event. A build
        that failed before is tried again; one that exists is shared."""
        loose.note_logs(self._connection, self._failed(builds))
        for key, recipe in sorted(builds.items()):
            insert = self._insert(tables.builds).values(
                key=key, model_id=model.id, recipe=recipe, state=BuildState.PENDING, attempts=0
            )
            retry = {"state": BuildState.PENDING, "failure": None, "attempts": 0}
            self._connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["key"], set_=retry, where=tables.builds.c.state == BuildState.FAILED
                )
            )
        run_id = self._insert_numbered(
            tables.runs,
            spec=spec,
            model_id=model.id,
            model_name=model.spec.name,
            name=spec.name,
            state=RunState.ACTIVE,
            created_by=by,
            created_at=at,
        )
        rows = [
            {
                "run_id": run_id,
                "recipe": job.recipe,
                "build_key": job.build_key,
                "reference_key": job.reference_key,
                "device_id": job.device_id,
                "scenario": job.scenario,
                "state": JobState.WAITING,
                "epoch": 0,
                "reason": job.reason,
                "pool": job.pool,
                "slot": job.slot,
                "model_id": job.model_id,
            }
            for job in jobs
        ]
        if rows:
            self._connection.execute(sa.insert(tables.jobs), rows)
        if pools:
            self._connection.execute(
                sa.insert(tables.pools),
                [
                    {"run_id": run_id, "number": number, "candidates": tuple(candidates)}
                    for number, candidates in pools.items()
                ],
            )
        self.append_event(run_id, "run", str(run_id), RunState.ACTIVE, f"{len(jobs)} jobs submitted by {by}", at)
        return self.run(run_id)

    def request_cancel(self, run_id: int, at: datetime) -> Run:
        """Idempotent; the coordinator does the rest. Raises NotFoundError, and ConflictError after the end."""
        run = self.run(run_id)
        if run.state is RunState.FINISHED:
            raise ConflictError(f"Run {run_id} is finished.", remedy="There is nothing left to cancel.")
        table = tables.runs
        self._connection.execute(
            sa.update(table)
            .where(table.c.id == run_id, table.c.cancel_requested_at.is_(None))
            .values(cancel_requested_at=at)
        )
        return run

    def set_run(self, run_id: int, state: RunState, at: datetime) -> None:
        """Raises NotFoundError."""
        finished_at = None if state is RunState.ACTIVE else at
        self._update(tables.runs, run_id, f"run {run_id}", state=state, finished_at=finished_at)

    def set_jobs(self, changes: Sequence[JobChange]) -> None:
        """Thousands in one go. Raises NotFoundError."""
        values = [
            {"job": c.job_id, "state": c.state, "reason": c.reason, "failure": c.failure, "new_epoch": c.epoch}
            for c in changes
        ]
        if self._connection.execute(_SET_JOB, values).rowcount < len(changes):
            raise NotFoundError(f"Not all of {len(changes)} jobs are there.", remedy="They may have been removed.")

    def append_job_events(self, changes: Sequence[JobChange], at: datetime) -> None:
        """One per change, in this order, for its run."""
        values = [
            {"job": c.job_id, "at": at, "subject": str(c.job_id), "state": c.state, "text": c.reason} for c in changes
        ]
        self._connection.execute(_APPEND_JOB_EVENT, values)

    def add_attempt(self, job_id: int, epoch: int, device_id: str, agent: str, at: datetime) -> int:
        """Id of the new attempt, in state leased."""
        return self._insert_numbered(
            tables.attempts,
            job_id=job_id,
            epoch=epoch,
            device_id=device_id,
            agent=agent,
            state="leased",
            leased_at=at,
        )

    def start_attempt(self, attempt_id: int, at: datetime) -> None:
        """Raises NotFoundError."""
        self._update(tables.attempts, attempt_id, f"attempt {attempt_id}", state="running", started_at=at)

    def end_attempt(
        self,
        attempt_id: int,
        state: Literal["finished", "failed", "cancelled", "superseded"],
        at: datetime,
        failure: Failure | None = None,
        measurement: Blob | None = None,
    ) -> None:
        """Raises NotFoundError."""
        self._update(
            tables.attempts,
            attempt_id,
            f"attempt {attempt_id}",
            state=state,
            ended_at=at,
            failure=failure,
            measurement=measurement,
        )

    def supersede_attempt(self, attempt_id: int, measurement: Blob) -> None:
        """It was given up as failed, and did measure: kept, for people, but no result. Others stay as they are."""
        table = tables.attempts
        self._connection.execute(
            sa.update(table)
            .where(table.c.id == attempt_id, table.c.state == "failed", table.c.measurement.is_(None))
            .values(state="superseded", measurement=measurement)
        )

    def add_result(self, result: Result, samples: Blob) -> bool:
        """With its line of history. False, and nothing changes, when the job already has one."""
        added = self._insert_new(
            tables.results, job_id=result.job_id, result=result, samples=samples, measured_at=result.measured_at
        )
        if added:
            self._add_history(result)
        return added

    def note_loose(self, blob: Blob | None) -> None:
        """Nothing here refers to this file any longer: it goes unless something else does."""
        if blob:
            loose.note(self._connection, {blob.sha256})

    # --- agents and events --------------------------------------------------------------------------

    def record_agent_event(self, agent: str, journal_id: str, seq: int) -> bool:
        """False when this event was committed before: its effects must not be applied again."""
        event = {"agent": agent, "journal_id": journal_id, "seq": seq}
        return self._connection.execute(_RECORD_AGENT_EVENT, event).first() is not None

    def trim_agent_events(self, agent: str, journal_id: str, acknowledged: int) -> None:
        """This event and all before it are committed: from now on the number alone says so."""
        journals, events = tables.agent_journals, tables.agent_events.c
        self._connection.execute(
            self._insert(journals)
            .values(agent=agent, journal_id=journal_id, acknowledged=acknowledged)
            .on_conflict_do_update(
                index_elements=["agent", "journal_id"],
                set_={"acknowledged": acknowledged},
                where=journals.c.acknowledged < acknowledged,
            )
        )
        self._connection.execute(
            sa.delete(tables.agent_events).where(
                events.agent == agent, events.journal_id == journal_id, events.seq <= acknowledged
            )
        )

    def append_event(
        self, run_id: int, kind: Literal["build", "job", "run"], subject: str, state: str, text: str, at: datetime
    ) -> Event:
        values: dict[str, Any] = {
            "run_id": run_id,
            "at": at,
            "kind": kind,
            "subject": subject,
            "state": state,
            "text": text,
        }
        return Event(seq=self._insert_numbered(tables.events, **values), **values)


# Made once: these are on the way of every job, and making a statement takes longer than SQLite needs for it.
_RECORD_AGENT_EVENT = sa.text(
    "INSERT INTO agent_events (agent, journal_id, seq) SELECT CAST(:agent AS VARCHAR), CAST(:journal_id AS VARCHAR),"
    " CAST(:seq AS BIGINT) WHERE NOT EXISTS (SELECT 1 FROM agent_journals"
    " WHERE agent = :agent AND journal_id = :journal_id AND acknowledged >= :seq)"
    " ON CONFLICT DO NOTHING RETURNING 1"
)
_SET_JOB = (
    sa.update(tables.jobs)
    .where(tables.jobs.c.id == sa.bindparam("job"))
    .values(
        {name: sa.bindparam(name) for name in ("state", "reason", "failure")}
        | {"epoch": sa.func.coalesce(sa.bindparam("new_epoch", type_=sa.Integer), tables.jobs.c.epoch)}
    )
)
_APPEND_JOB_EVENT = sa.insert(tables.events).values(
    kind="job",
    run_id=sa.select(tables.jobs.c.run_id).where(tables.jobs.c.id == sa.bindparam("job")).scalar_subquery(),
)
