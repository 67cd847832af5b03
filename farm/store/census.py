"""Queries that count: what there is of everything, for those who watch the farm."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from farm.store import tables
from farm.store.devices import OPEN_ATTEMPT_STATES
from farm.store.statement import Reader
from farm.types import JobState, NightState, RegressionState, RunState


class CensusReading(Reader):
    def runs_by_state(self) -> dict[RunState, int]:
        table = tables.runs.c
        counted = self._connection.execute(sa.select(table.state, sa.func.count()).group_by(table.state))
        return {RunState(row[0]): row[1] for row in counted}

    def jobs_by_state(self) -> dict[JobState, int]:
        """Of active runs."""
        query = sa.select(tables.jobs.c.state, sa.func.count()).select_from(_JOBS_OF_ACTIVE_RUNS)
        counted = self._connection.execute(query.where(_ACTIVE).group_by(tables.jobs.c.state))
        return {JobState(row[0]): row[1] for row in counted}

    def queued_by_device(self) -> dict[str, int]:
        """Jobs that wait for their device."""
        jobs = tables.jobs.c
        query = sa.select(jobs.device_id, sa.func.count()).select_from(_JOBS_OF_ACTIVE_RUNS)
        counted = self._connection.execute(query.where(_ACTIVE, jobs.state == JobState.QUEUED).group_by(jobs.device_id))
        return {row[0]: row[1] for row in counted}

    def leased_since(self) -> dict[str, datetime]:
        """Devices that somebody has, and since when."""
        table = tables.attempts.c
        query = sa.select(table.device_id, table.leased_at).where(table.state.in_(OPEN_ATTEMPT_STATES))
        return {row.device_id: row.leased_at for row in self._connection.execute(query.order_by(table.id))}

    def nights_by_state(self) -> dict[tuple[str, str], int]:
        """Of every sweep, also zeros."""
        return self._of_sweeps(tables.nights, [state.value for state in NightState])

    def regressions_by_state(self) -> dict[tuple[str, str], int]:
        """Of every sweep, also zeros."""
        return self._of_sweeps(tables.regressions, [state.value for state in RegressionState])

    def notices_by_state(self) -> dict[str, int]:
        table = tables.notices.c
        counted = self._connection.execute(sa.select(table.state, sa.func.count()).group_by(table.state))
        return {"pending": 0, "sent": 0, "dead": 0} | {row[0]: row[1] for row in counted}

    def _of_sweeps(self, table: sa.Table, states: list[str]) -> dict[tuple[str, str], int]:
        sweeps = self._connection.execute(sa.select(tables.sweeps.c.name).order_by(tables.sweeps.c.name)).scalars()
        found = {(sweep, state): 0 for sweep in sweeps for state in states}
        columns = (table.c.sweep, table.c.state)
        counted = self._connection.execute(sa.select(*columns, sa.func.count()).group_by(*columns))
        return found | {(row[0], row[1]): row[2] for row in counted}

    def heard_agents(self, since: datetime) -> list[str]:
        """Names of the agents that answered since then."""
        table = tables.heartbeats.c
        query = sa.select(table.process).where(table.process.startswith("@"), table.at >= since)
        return [process[1:] for process in self._connection.execute(query.order_by(table.process)).scalars()]


_JOBS_OF_ACTIVE_RUNS = tables.jobs.join(tables.runs, tables.runs.c.id == tables.jobs.c.run_id)
_ACTIVE = tables.runs.c.state == RunState.ACTIVE
