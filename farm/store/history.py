"""Queries of history: a line per result that outlives its run, written in the transaction of the result."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from farm.analysis.quantities import figures_of
from farm.store import tables
from farm.store.statement import Reader, Writer
from farm.types import Estimate, HistoryPoint, Result, VerdictLevel

Figure = float | tuple[float, float, float]  # as stored: one number where it has no interval


class HistoryReading(Reader):
    def history(
        self,
        *,
        model_name: str | None = None,
        variant: str | None = None,
        device_id: str | None = None,
        scenario: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
        before: int | None = None,
    ) -> list[HistoryPoint]:
        """Of the jobs submitted last, the newest first; ``before`` is the job's id to go on from."""
        table = tables.history.c
        wanted = {table.model_name: model_name, table.variant: variant, table.device_id: device_id}
        wanted[table.scenario] = scenario
        query = sa.select(tables.history).where(*(column == value for column, value in wanted.items() if value))
        if since is not None:
            query = query.where(table.measured_at >= since)
        if before is not None:
            query = query.where(table.job_id < before)
        return _points(self._connection.execute(query.order_by(table.job_id.desc()).limit(limit)))

    def night_points(
        self,
        sweep: str,
        *,
        since: datetime | None = None,
        nights: int | None = None,
        metrics: Collection[str] | None = None,
    ) -> list[HistoryPoint]:
        """Of all series of a sweep, in the order of time: of its nights that were due since then, or of its last so
        many that had a run. ``metrics``: only these figures, for the rest costs as much as the query."""
        table, night = tables.history.c, tables.nights.c
        wanted = sa.select(night.id).where(night.sweep == sweep, night.run_id.is_not(None))
        if since is not None:
            wanted = wanted.where(night.due_at >= since)
        if nights is not None:
            wanted = wanted.order_by(night.due_at.desc()).limit(nights)
        query = sa.select(tables.history).where(table.night_id.in_(wanted)).order_by(table.measured_at, table.job_id)
        return _points(self._connection.execute(query), metrics)

    def points_of_run(self, run_id: int) -> list[HistoryPoint]:
        """In the order of the submission; also of a run that was deleted."""
        table = tables.history.c
        return _points(
            self._connection.execute(sa.select(tables.history).where(table.run_id == run_id).order_by(table.job_id))
        )


class HistoryWriting(HistoryReading, Writer):
    def _add_history(self, result: Result) -> None:
        origin = self._connection.execute(_ORIGIN, {"job": result.job_id}).one()
        self._insert_new(
            tables.history,
            job_id=result.job_id,
            run_id=origin.run_id,
            night_id=origin.night_id,
            model_name=origin.model_name,
            model_id=origin.model_id,
            variant=origin.recipe.name,
            build_key=origin.build_key,
            device_id=origin.device_id,
            scenario=str(origin.scenario),
            virtual=origin.facts.virtual,
            trusted=result.verdict.level is VerdictLevel.TRUSTED,
            verdict=result.verdict.level,
            reasons=tuple(reason.code for reason in result.verdict.reasons),
            measured_at=result.measured_at,
            figures=_stored(figures_of(result)),
        )


def _stored(figures: dict[str, Estimate]) -> dict[str, Figure]:
    """Nothing is compared with what is no number: it stays out."""
    return {
        name: each.value if each.low == each.value == each.high else (each.value, each.low, each.high)
        for name, each in figures.items()
        if math.isfinite(each.value) and math.isfinite(each.low) and math.isfinite(each.high)
    }


def _estimate(figure: Figure) -> Estimate:
    value, low, high = figure if isinstance(figure, tuple) else (figure, figure, figure)
    return Estimate.model_construct(value=value, low=low, high=high)


def _points(rows: Iterable[sa.Row[Any]], metrics: Collection[str] | None = None) -> list[HistoryPoint]:
    """Not validated once more: a sweep's months are read at once."""
    found = []
    for row in rows:
        values = dict(row._mapping)
        values["figures"] = {
            name: _estimate(figure) for name, figure in row.figures.items() if metrics is None or name in metrics
        }
        found.append(HistoryPoint.model_construct(**values))
    return found


def _origin() -> sa.Select[Any]:
    jobs, runs, devices, nights = tables.jobs, tables.runs, tables.devices, tables.nights
    night = sa.select(sa.func.min(nights.c.id)).where(nights.c.run_id == jobs.c.run_id).scalar_subquery()
    return (
        sa.select(
            *(jobs.c.run_id, jobs.c.recipe, jobs.c.build_key, jobs.c.device_id, jobs.c.scenario),
            *(runs.c.model_name, devices.c.facts, night.label("night_id")),
            sa.func.coalesce(jobs.c.model_id, runs.c.model_id).label("model_id"),
        )
        .select_from(jobs.join(runs, runs.c.id == jobs.c.run_id).join(devices, devices.c.id == jobs.c.device_id))
        .where(jobs.c.id == sa.bindparam("job"))
    )


_ORIGIN = _origin()
