"""Queries of what got worse: what a night found, what is being done about it, and what came of that."""

from __future__ import annotations

from collections.abc import Collection, Iterable
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
    Run,
)

_RUN = [tables.runs.c[name] for name in Run.model_fields if name != "jobs"]
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
        query = sa.select(table.id, table.regression).where(
            *(column == value for column, value in wanted.items() if value)
        )
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
        """Those that this run measures once more, and that have not come to an end."""
        table = tables.regressions.c
        confirming = sa.and_(table.confirm_run_id == run_id, table.state == RegressionState.CONFIRMING)
        query = sa.select(table.id, table.regression).where(confirming).order_by(table.id)
        return _found(self._connection.execute(query).all())

    def confirming_runs(self) -> list[tuple[int, Run | None]]:
        """Runs that measure suspects once more; None where one was deleted. In the order of their numbers."""
        table = tables.regressions.c
        query = sa.select(table.confirm_run_id).where(table.state == RegressionState.CONFIRMING).distinct()
        ids = sorted(id for id in self._connection.execute(query).scalars() if id is not None)
        runs = sa.select(*_RUN).where(tables.runs.c.id.in_(ids))
        found = {row.id: Run.model_validate(dict(row._mapping)) for row in self._connection.execute(runs)}
        return [(id, found.get(id)) for id in ids]

    def nights_until(self, night: Night, limit: int) -> list[Night]:
        """This one and those of its sweep with a run that were due before it, the oldest first; at most so many."""
        table = tables.nights.c
        before = sa.and_(table.sweep == night.sweep, table.run_id.is_not(None), table.due_at <= night.due_at)
        query = sa.select(tables.nights).where(before).order_by(table.due_at.desc()).limit(limit)
        return [as_value(Night, row) for row in self._connection.execute(query)][::-1]

    def nights_untold(self, since: datetime) -> list[Night]:
        """Nights that came to no run since then, and that nobody has been told of, nor of a later end of a night of
        their sweep; only where somebody wants to hear."""
        nights, later, notices = tables.nights, tables.nights.alias(), tables.notices.c
        told = (
            sa.select(later.c.id)
            .join(tables.notices, notices.cause == sa.literal("night ") + sa.cast(later.c.id, sa.String))
            .where(later.c.sweep == nights.c.sweep, later.c.ended_at >= nights.c.ended_at)
        )
        query = (
            sa.select(nights, tables.sweeps.c.spec)
            .select_from(nights.join(tables.sweeps, tables.sweeps.c.name == nights.c.sweep))
            .where(nights.c.state.in_([NightState.FAILED, NightState.SKIPPED]), nights.c.ended_at >= since)
            .where(~told.exists())
            .order_by(nights.c.id)
        )
        names = list(Night.model_fields)
        rows = [row._mapping for row in self._connection.execute(query) if row.spec.notify]
        return [Night.model_validate({name: row[name] for name in names}) for row in rows]

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


def _found(rows: Iterable[Any]) -> list[Regression]:
    return [row.regression.model_copy(update={"id": row.id}) for row in rows]
