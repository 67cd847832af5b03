"""Queries of history: a line per result that outlives its run, written in the transaction of the result."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from farm.analysis.quantities import figures_of
from farm.errors import NotFoundError
from farm.store import tables
from farm.store.statement import Reader, Writer
from farm.types import Estimate, HistoryPoint, MissingNight, NightState, Result, VerdictLevel

Figure = float | tuple[float, float, float] | list[float]  # as stored: one number where it has no interval
_NAMED = 5  # names that an error lists


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
        """The newest first; ``before`` is the id of the job to go on from."""
        table = tables.history.c
        wanted = {table.model_name: model_name, table.variant: variant, table.device_id: device_id}
        wanted[table.scenario] = scenario
        query = sa.select(tables.history).where(*(column == value for column, value in wanted.items() if value))
        if since is not None:
            query = query.where(table.measured_at >= since)
        if before is not None:
            at = sa.select(table.measured_at).where(table.job_id == before).scalar_subquery()
            query = query.where(sa.tuple_(table.measured_at, table.job_id) < sa.tuple_(at, sa.literal(before)))
        newest = query.order_by(table.measured_at.desc(), table.job_id.desc())  # by time, as the index is
        return _points(self._connection.execute(newest.limit(limit)))

    def check_series(self, model_name: str, variant: str | None = None, device_id: str | None = None) -> None:
        """Raises NotFoundError, with what is near, where nothing of the kind was measured."""
        table = tables.history.c
        known = [table.model_name == model_name]
        self._check_known("model", model_name, table.model_name, [], "")
        if variant is not None:
            self._check_known("variant", variant, table.variant, known, f" of {model_name}")
            known.append(table.variant == variant)
        if device_id is not None:
            whose = f" of {f'{variant} of ' if variant else ''}{model_name}"
            self._check_known("device", device_id, table.device_id, known, whose)

    def _check_known(
        self, noun: str, name: str, column: sa.Column[str], among: list[sa.ColumnElement[bool]], whose: str
    ) -> None:
        if self._first(sa.select(column).where(column == name, *among)) is not None:
            return
        names = sorted(self._connection.execute(sa.select(column).where(*among).distinct()).scalars())
        near = difflib.get_close_matches(name, names, n=3) or names[:_NAMED]
        remedy = f"There is some of {', '.join(near)}." if near else "Measure something first: `farm submit MODEL …`."
        raise NotFoundError(f"There is no history{whose} with the {noun} {name!r}.", remedy=remedy)

    def missing_nights(
        self,
        model_name: str,
        variant: str,
        device_id: str,
        *,
        scenario: str | None = None,
        since: datetime | None = None,
    ) -> list[MissingNight]:
        """The oldest first: of the sweeps that have this series, the nights that are over, after the first that has a
        result of it, and have none."""
        table, nights = tables.history.c, tables.nights
        series = [table.model_name == model_name, table.variant == variant, table.device_id == device_id]
        if scenario:
            series.append(table.scenario == scenario)
        first = (
            sa.select(nights.c.sweep, sa.func.min(nights.c.due_at).label("due_at"))
            .join(tables.history, table.night_id == nights.c.id)
            .where(*series)
            .group_by(nights.c.sweep)
            .subquery()
        )
        there = sa.select(table.job_id).where(table.night_id == nights.c.id, *series).exists()
        query = (
            sa.select(nights)
            .join(first, sa.and_(first.c.sweep == nights.c.sweep, nights.c.due_at > first.c.due_at))
            .where(nights.c.state.in_([state for state in NightState if state.over]), ~there)
            .order_by(nights.c.due_at)
        )
        if since is not None:
            query = query.where(nights.c.due_at >= since)
        return [
            MissingNight(
                night_id=row.id,
                sweep=row.sweep,
                due_at=row.due_at,
                run_id=row.run_id,
                reason=row.reason or self._why_missing(row.run_id, variant, device_id, scenario),
            )
            for row in self._connection.execute(query).all()
        ]

    def _why_missing(self, run_id: int | None, variant: str, device_id: str, scenario: str | None) -> str:
        jobs = tables.jobs.c
        query = sa.select(tables.jobs).where(jobs.run_id == run_id, jobs.device_id == device_id).order_by(jobs.id)
        for job in self._connection.execute(query):
            if job.recipe.name == variant and scenario in (None, str(job.scenario)):
                return str(job.failure or job.reason or f"its job is {job.state}")
        if run_id is not None and self._first(sa.select(tables.runs.c.id).where(tables.runs.c.id == run_id)):
            return "it was no part of the night's run"
        return "the night's run is deleted"

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
        if origin.in_turns:
            return
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


def _points(rows: Iterable[sa.Row[Any]], metrics: Collection[str] | None = None) -> list[HistoryPoint]:
    found = []
    for row in rows:
        values = dict(row._mapping)
        values["figures"] = {
            name: _estimate(figure) for name, figure in row.figures.items() if metrics is None or name in metrics
        }
        found.append(HistoryPoint.model_validate(values))
    return found


def _estimate(figure: Figure) -> dict[str, float]:
    value, low, high = (figure, figure, figure) if isinstance(figure, int | float) else figure
    return {"value": value, "low": low, "high": high}


def _origin() -> sa.Select[Any]:
    jobs, runs, devices, nights = tables.jobs, tables.runs, tables.devices, tables.nights
    night = sa.select(sa.func.min(nights.c.id)).where(nights.c.run_id == jobs.c.run_id).scalar_subquery()
    return (
        sa.select(
            *(jobs.c.run_id, jobs.c.recipe, jobs.c.build_key, jobs.c.device_id, jobs.c.scenario),
            *(runs.c.model_name, devices.c.facts, night.label("night_id")),
            *(runs.c.model_id, jobs.c.model_id.is_not(None).label("in_turns")),
        )
        .select_from(jobs.join(runs, runs.c.id == jobs.c.run_id).join(devices, devices.c.id == jobs.c.device_id))
        .where(jobs.c.id == sa.bindparam("job"))
    )


_ORIGIN = _origin()
