"""Queries of what is pushed to Prometheus: the outbox, what goes into it again, and what the comparison found."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from farm.store import tables
from farm.store.statement import Reader, Writer, as_value
from farm.types import DayCheck, Device, Job, OutboxEntry, Publication, Result, Run

_ENTRY = [tables.outbox.c[name] for name in OutboxEntry.model_fields]
_AT_ONCE = 500  # values in one statement


class Measured(NamedTuple):
    """A result with all that its labels are made of."""

    job: Job
    device: Device
    model_name: str
    result: Result


class OutboxReading(Reader):
    def pending(self, limit: int) -> list[tuple[int, Publication]]:
        """Those that wait longest, by id."""
        table = tables.outbox.c
        query = sa.select(table.id, table.publication).where(table.state == "pending").order_by(table.id).limit(limit)
        return [(row.id, row.publication) for row in self._connection.execute(query)]

    def outbox_counts(self) -> dict[str, int]:
        """By state; ``done`` are those of the last days only."""
        table = tables.outbox.c
        counted = self._connection.execute(sa.select(table.state, sa.func.count()).group_by(table.state))
        return {"pending": 0, "done": 0, "dead": 0} | {row[0]: row[1] for row in counted}

    def outbox_entries(self, state: str, limit: int) -> list[OutboxEntry]:
        """``pending`` or ``dead``, the first queued first."""
        query = sa.select(*_ENTRY).where(tables.outbox.c.state == state).order_by(tables.outbox.c.id).limit(limit)
        return [as_value(OutboxEntry, row) for row in self._connection.execute(query)]

    def refused_results(self, since: datetime, until: datetime) -> set[int]:
        """Jobs whose results, measured in [since, until), were refused for good."""
        table = tables.outbox.c
        dead = sa.select(table.subject).where(
            table.state == "dead", table.kind == "result", table.at >= since, table.at < until
        )
        return set(self._connection.execute(dead).scalars())

    def first_result_at(self) -> datetime | None:
        """When the oldest of the results that are kept was measured."""
        return self._connection.execute(sa.select(sa.func.min(tables.results.c.measured_at))).scalar()

    def measured_between(self, since: datetime, until: datetime) -> Iterator[Measured]:
        """Results measured in [since, until), in the order of time; without those in turns, which are not pushed."""
        jobs, results, runs, devices = tables.jobs, tables.results, tables.runs, tables.devices
        query = (
            sa.select(results.c.result, runs.c.model_name, jobs, devices)
            .select_from(results.join(jobs, jobs.c.id == results.c.job_id).join(runs, runs.c.id == jobs.c.run_id))
            .join(devices, devices.c.id == jobs.c.device_id)
            .where(results.c.measured_at >= since, results.c.measured_at < until, jobs.c.model_id.is_(None))
            .order_by(results.c.measured_at)
            .execution_options(yield_per=_AT_ONCE)
        )
        job_columns, device_columns = list(jobs.c), list(devices.c)
        for row in self._connection.execute(query):
            yield Measured(
                Job.model_validate({column.name: row._mapping[column] for column in job_columns}),
                Device.model_validate({column.name: row._mapping[column] for column in device_columns}),
                row._mapping[runs.c.model_name],
                row._mapping[results.c.result],
            )

    def runs_finished_between(self, since: datetime, until: datetime) -> list[Run]:
        """In [since, until), in the order of time; without the counts of their jobs."""
        table = tables.runs
        columns = [table.c[name] for name in Run.model_fields if name != "jobs"]
        query = sa.select(*columns).where(table.c.finished_at >= since, table.c.finished_at < until)
        return [as_value(Run, row) for row in self._connection.execute(query.order_by(table.c.finished_at))]

    def day_checks(self, limit: int = 7) -> list[DayCheck]:
        """The newest day first."""
        query = sa.select(tables.day_checks).order_by(tables.day_checks.c.day.desc()).limit(limit)
        return [as_value(DayCheck, row) for row in self._connection.execute(query)]


class OutboxWriting(OutboxReading, Writer):
    def publish(self, publication: Publication, at: datetime) -> None:
        """Have it pushed, be it once more."""
        values = {
            "at": publication.at,
            "queued_at": at,
            "state": "pending",
            "reason": "",
            "publication": publication,
        }
        insert = self._insert(tables.outbox).values(kind=publication.kind, subject=publication.subject, **values)
        self._connection.execute(insert.on_conflict_do_update(index_elements=["kind", "subject"], set_=values))

    def settle(self, ids: Sequence[int]) -> None:
        """Prometheus has taken them: of each, only a receipt stays."""
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            self._set(some, state="done", reason="", publication=None)

    def bury(self, id: int, reason: str) -> None:
        """It was refused for good."""
        self._set([id], state="dead", reason=reason)

    def note_delay(self, id: int, reason: str) -> None:
        """Why it, and all after it, still wait."""
        self._set([id], reason=reason)

    def drop_receipts(self, before: datetime, limit: int) -> int:
        """Of what was queued before then; how many."""
        table = tables.outbox
        old = sa.select(table.c.id).where(table.c.state == "done", table.c.queued_at < before).limit(limit)
        return self._connection.execute(sa.delete(table).where(table.c.id.in_(old))).rowcount

    def note_day(self, check: DayCheck) -> None:
        values = check.model_dump(exclude={"day"})
        insert = self._insert(tables.day_checks).values(day=check.day, **values)
        self._connection.execute(insert.on_conflict_do_update(index_elements=["day"], set_=values))

    def _set(self, ids: Collection[int], **values: object) -> None:
        self._connection.execute(sa.update(tables.outbox).where(tables.outbox.c.id.in_(ids)).values(**values))
