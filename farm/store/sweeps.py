"""Queries of sweeps and their nights."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from farm.errors import NotFoundError
from farm.store import tables
from farm.store.statement import Reader, Writer, as_value
from farm.suggestion import did_you_mean
from farm.types import Night, NightState, RunState, Sweep, SweepSpec

_SWEEP = [tables.sweeps.c[name] for name in Sweep.model_fields]
_NIGHT = [tables.nights.c[name] for name in Night.model_fields]


class SweepReading(Reader):
    def find_sweep(self, name: str) -> Sweep | None:
        row = self._first(sa.select(*_SWEEP).where(tables.sweeps.c.name == name))
        return as_value(Sweep, row) if row else None

    def sweep(self, name: str) -> Sweep:
        """Raises NotFoundError with the nearest names."""
        found = self.find_sweep(name)
        if found is None:
            names = self._connection.execute(sa.select(tables.sweeps.c.name)).scalars().all()
            remedy = did_you_mean(name, names).lstrip() or "`farm sweep list` shows those there are."
            raise NotFoundError(f"No sweep {name!r}.", remedy=remedy)
        return found

    def sweeps(self, limit: int | None = None, after: str = "") -> list[Sweep]:
        """By name; ``after`` is the name to go on from."""
        table = tables.sweeps.c
        query = sa.select(*_SWEEP).where(table.name > after).order_by(table.name).limit(limit)
        return [as_value(Sweep, row) for row in self._connection.execute(query)]

    def first_due_sweep(self, now: datetime) -> Sweep | None:
        """The one that has a night due for longest."""
        table = tables.sweeps.c
        row = self._first(sa.select(*_SWEEP).where(table.next_at <= now).order_by(table.next_at, table.name))
        return as_value(Sweep, row) if row else None

    def night(self, night_id: int) -> Night:
        """Raises NotFoundError."""
        found = self._nights(sa.select(*_NIGHT).where(tables.nights.c.id == night_id))
        if not found:
            raise NotFoundError(f"No night {night_id}.", remedy="`farm sweep history SWEEP` shows its nights.")
        return found[0]

    def nights(self, sweep: str, limit: int | None = None, before: int | None = None) -> list[Night]:
        """The newest first; ``before`` is the id to go on from."""
        table = tables.nights.c
        query = sa.select(*_NIGHT).where(table.sweep == sweep).order_by(table.id.desc()).limit(limit)
        return self._nights(query if before is None else query.where(table.id < before))

    def nights_in(self, *states: NightState) -> list[Night]:
        """Of all sweeps, the oldest first."""
        table = tables.nights.c
        return self._nights(sa.select(*_NIGHT).where(table.state.in_(states)).order_by(table.id))

    def night_of_run(self, run_id: int) -> Night | None:
        found = self._nights(sa.select(*_NIGHT).where(tables.nights.c.run_id == run_id).limit(1))
        return found[0] if found else None

    def last_night_with_run(self, sweep: str) -> Night | None:
        """Whose run is still there."""
        nights = tables.nights.c
        query = (
            sa.select(*_NIGHT)
            .select_from(tables.nights.join(tables.runs, tables.runs.c.id == nights.run_id))
            .where(nights.sweep == sweep)
            .order_by(nights.id.desc())
            .limit(1)
        )
        found = self._nights(query)
        return found[0] if found else None

    def night_in_the_way(self, sweep: str) -> Night | None:
        """That keeps the next one of the sweep from beginning: it is prepared, or its run has not ended."""
        nights, runs = tables.nights.c, tables.runs.c
        runs_still = sa.and_(nights.state == NightState.RUNNING, runs.state == RunState.ACTIVE)
        query = (
            sa.select(*_NIGHT)
            .select_from(tables.nights.outerjoin(tables.runs, runs.id == nights.run_id))
            .where(nights.sweep == sweep, sa.or_(nights.state == NightState.PREPARING, runs_still))
            .order_by(nights.id)
            .limit(1)
        )
        found = self._nights(query)
        return found[0] if found else None

    def nights_to_examine(self, limit: int = 10) -> list[Night]:
        """Whose run ended, or is gone, and that nobody has compared yet; the oldest first."""
        nights, runs = tables.nights.c, tables.runs.c
        ended = sa.or_(runs.state != RunState.ACTIVE, runs.id.is_(None))
        query = (
            sa.select(*_NIGHT)
            .select_from(tables.nights.outerjoin(tables.runs, runs.id == nights.run_id))
            .where(nights.state == NightState.RUNNING, ended)
            .order_by(nights.id)
            .limit(limit)
        )
        return self._nights(query)

    def job_seconds_of_run(self, run_id: int) -> dict[tuple[str, str], list[float]]:
        """How long finished attempts of its jobs had their device, by device and variant."""
        attempts, jobs = tables.attempts.c, tables.jobs.c
        rows = self._connection.execute(
            sa.select(attempts.device_id, jobs.recipe, attempts.leased_at, attempts.ended_at)
            .select_from(tables.attempts.join(tables.jobs, jobs.id == attempts.job_id))
            .where(jobs.run_id == run_id, attempts.state == "finished", attempts.ended_at.is_not(None))
        )
        found: dict[tuple[str, str], list[float]] = {}
        for device_id, recipe, leased_at, ended_at in rows:
            found.setdefault((device_id, recipe.name), []).append((ended_at - leased_at).total_seconds())
        return found

    def build_seconds_of_run(self, run_id: int) -> dict[str, float]:
        """How long the builds that it needed took, whenever they were made, by recipe."""
        jobs, builds = tables.jobs.c, tables.builds.c
        needed = sa.select(jobs.build_key).where(jobs.run_id == run_id)
        computed = sa.select(jobs.reference_key).where(jobs.run_id == run_id, jobs.reference_key.is_not(None))
        rows = self._connection.execute(
            sa.select(builds.recipe, builds.artifact).where(builds.key.in_(needed.union(computed)))
        )
        return {row.recipe.name: row.artifact.report.seconds for row in rows if row.artifact is not None}

    def _nights(self, query: sa.Select[Any]) -> list[Night]:
        return [as_value(Night, row) for row in self._connection.execute(query)]


class SweepWriting(SweepReading, Writer):
    def put_sweep(self, spec: SweepSpec, by: str, at: datetime, next_at: datetime | None, *, paused: bool) -> Sweep:
        """New, or in place of the one of that name, which keeps its owner and its nights."""
        values = {"spec": spec, "changed_at": at, "next_at": next_at, "paused": paused}
        insert = self._insert(tables.sweeps).values(name=spec.name, created_by=by, created_at=at, **values)
        self._connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=values))
        return self.sweep(spec.name)

    def set_next(self, name: str, next_at: datetime | None) -> None:
        """Raises NotFoundError."""
        self._update(tables.sweeps, name, f"sweep {name!r}", next_at=next_at)

    def set_paused(self, name: str, next_at: datetime | None, at: datetime, *, paused: bool) -> Sweep:
        """Raises NotFoundError."""
        self._update(tables.sweeps, name, f"sweep {name!r}", paused=paused, next_at=next_at, changed_at=at)
        return self.sweep(name)

    def remove_sweep(self, name: str) -> None:
        """With its nights and regressions; runs and the history of results stay. Raises NotFoundError."""
        self._connection.execute(sa.delete(tables.regressions).where(tables.regressions.c.sweep == name))
        self._connection.execute(sa.delete(tables.nights).where(tables.nights.c.sweep == name))
        done = self._connection.execute(sa.delete(tables.sweeps).where(tables.sweeps.c.name == name))
        self._expect_row(done, f"sweep {name!r}")

    def add_night(
        self,
        sweep: str,
        due_at: datetime,
        trigger: Literal["schedule", "missed", "manual"],
        by: str,
        *,
        skipped: str | None = None,
        at: datetime | None = None,
    ) -> Night | None:
        """It waits to begin, or is ``skipped`` for that reason. None, and nothing changes, where there is one for that
        time."""
        added = self._insert_new(
            tables.nights,
            sweep=sweep,
            due_at=due_at,
            trigger=trigger,
            state=NightState.WAITING if skipped is None else NightState.SKIPPED,
            requested_by=by,
            reason=skipped or "",
            ended_at=None if skipped is None else at,
        )
        if not added:
            return None
        table = tables.nights.c
        return self._nights(sa.select(*_NIGHT).where(table.sweep == sweep, table.due_at == due_at))[0]

    def skip_waiting(self, sweep: str, reason: str, at: datetime) -> None:
        """The scheduled nights that wait; those that somebody asked for stay."""
        table = tables.nights
        waiting = sa.and_(table.c.sweep == sweep, table.c.state == NightState.WAITING, table.c.trigger != "manual")
        self._connection.execute(
            sa.update(table).where(waiting).values(state=NightState.SKIPPED, reason=reason, ended_at=at)
        )

    def set_night(self, night_id: int, was: Sequence[NightState], **values: Any) -> bool:
        """False, and nothing changes, where it is in none of the states ``was`` (any longer)."""
        table = tables.nights
        change = sa.update(table).where(table.c.id == night_id, table.c.state.in_(was)).values(**values)
        return self._connection.execute(change).rowcount > 0
