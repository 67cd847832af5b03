"""Queries of what got worse: what a night found, what is being done about it, and what came of that."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from farm.errors import ConflictError, NotFoundError
from farm.store import tables
from farm.store.statement import Reader, Writer, as_value
from farm.types import (
    Build,
    BuildState,
    Night,
    NightState,
    Regression,
    RegressionState,
    RunState,
    SeriesKey,
)

OPEN = tuple(state for state in RegressionState if state.open)


class RegressionReading(Reader):
    def regressions(
        self,
        *,
        sweep: str | None = None,
        states: Collection[RegressionState] = (),
        device: str | None = None,
        variant: str | None = None,
        night_id: int | None = None,
        limit: int | None = 100,
        before: int | None = None,
    ) -> list[Regression]:
        """The newest first; ``states`` empty: of any. ``before`` is the id to go on from."""
        table = tables.regressions.c
        wanted = {table.sweep: sweep, table.device: device, table.variant: variant, table.night_id: night_id}
        query = sa.select(table.id, table.regression).where(*(column == value for column, value in wanted.items() if value))
        if states:
            query = query.where(table.state.in_(sorted(states)))
        if before is not None:
            query = query.where(table.id < before)
        return _found(self._connection.execute(query.order_by(table.id.desc()).limit(limit)).all())

    def regression(self, id: int) -> Regression:
        """Raises NotFoundError."""
        table = tables.regressions.c
        row = self._first(sa.select(table.id, table.regression).where(table.id == id))
        if row is None:
            raise NotFoundError(f"No regression {id}.", remedy="`farm regressions list` shows those there are.")
        return _found([row])[0]

    def regressions_measured_by(self, run_id: int) -> list[Regression]:
        """Those that this run measures once more."""
        table = tables.regressions.c
        query = sa.select(table.id, table.regression).where(table.confirm_run_id == run_id).order_by(table.id)
        return _found(self._connection.execute(query).all())

    def confirming_runs(self) -> list[tuple[int, RunState]]:
        """Runs that measure suspects once more, and how far each is; one that was deleted counts as cancelled."""
        table, runs = tables.regressions, tables.runs
        query = (
            sa.select(table.c.confirm_run_id, sa.func.coalesce(runs.c.state, RunState.CANCELLED))
            .select_from(table.outerjoin(runs, runs.c.id == table.c.confirm_run_id))
            .where(table.c.state == RegressionState.CONFIRMING, table.c.confirm_run_id.is_not(None))
            .distinct()
            .order_by(table.c.confirm_run_id)
        )
        return [(run_id, RunState(state)) for run_id, state in self._connection.execute(query)]

    def night_to_examine(self) -> Night | None:
        """The one that is due first of those whose run has ended (or was deleted meanwhile)."""
        nights, runs = tables.nights, tables.runs
        query = (
            sa.select(nights)
            .select_from(nights.outerjoin(runs, runs.c.id == nights.c.run_id))
            .where(nights.c.state == NightState.RUNNING)
            .where(sa.or_(runs.c.id.is_(None), runs.c.state != RunState.ACTIVE))
            .order_by(nights.c.due_at, nights.c.id)
        )
        row = self._first(query)
        return as_value(Night, row) if row else None

    def built_reference(self, model_id: str, recipe_digest: str) -> str | None:
        """Key of the build that computes the model's reference outputs, where it is there."""
        table = tables.builds
        query = sa.select(table).where(table.c.model_id == model_id, table.c.state == BuildState.BUILT)
        builds = (as_value(Build, row) for row in self._connection.execute(query.order_by(table.c.key)))
        return next((build.key for build in builds if build.recipe.digest == recipe_digest), None)


class RegressionWriting(RegressionReading, Writer):
    def add_regression(self, regression: Regression) -> Regression:
        """With its number; the one it has counts for nothing."""
        id = self._insert_numbered(tables.regressions, **_columns(regression))
        return regression.model_copy(update={"id": id})

    def set_regression(self, regression: Regression, confirm_run_id: int | None = None) -> None:
        """``confirm_run_id`` None keeps it. Raises NotFoundError."""
        values = _columns(regression)
        if confirm_run_id is not None:
            values["confirm_run_id"] = confirm_run_id
        self._update(tables.regressions, regression.id, f"regression {regression.id}", **values)

    def close_regression(self, id: int, reason: str, at: datetime) -> Regression:
        """By a person. Raises NotFoundError, and ConflictError where it is over already."""
        found = self.regression(id)
        if not found.state.open:
            raise ConflictError(f"Regression {id} is {found.state} already.", remedy="There is nothing left to close.")
        closed = found.model_copy(update={"state": RegressionState.CLOSED, "reason": reason, "changed_at": at})
        self.set_regression(closed)
        return closed


def series_of(regressions: Collection[Regression]) -> dict[tuple[str, SeriesKey], Regression]:
    """By kind and series; the newest of each."""
    return {(each.kind, each.key): each for each in sorted(regressions, key=lambda each: each.id)}


def _columns(regression: Regression) -> dict[str, Any]:
    key = regression.key
    return {
        "sweep": key.sweep,
        "night_id": regression.night_id,
        "state": regression.state,
        "variant": key.variant,
        "device": key.device,
        "regression": regression,
    }


def _found(rows: Collection[sa.Row[Any]]) -> list[Regression]:
    return [row.regression.model_copy(update={"id": row.id}) for row in rows]
