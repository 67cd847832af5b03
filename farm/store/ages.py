"""How old what may get: by the farm's settings, and by those of a sweep for what its nights left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from farm.store import tables
from farm.types import SweepRetention


@dataclass(frozen=True)
class Ages:
    """Days; None: for ever. What a sweep says comes before ``runs_days`` and ``samples_days``."""

    runs_days: float | None = None
    samples_days: float | None = None
    history_days: float | None = None


@dataclass(frozen=True)
class Limit:
    """What is from before then is too old, of the runs that ``of_run`` says so of."""

    before: datetime
    of_run: sa.ColumnElement[bool]


def run_limits(connection: sa.Connection, run_id: sa.ColumnElement[int], ages: Ages, now: datetime) -> Iterator[Limit]:
    return _limits(connection, run_id, ages.runs_days, "runs_days", now)


def sample_limits(
    connection: sa.Connection, run_id: sa.ColumnElement[int], ages: Ages, now: datetime
) -> Iterator[Limit]:
    return _limits(connection, run_id, ages.samples_days, "samples_days", now)


def _limits(
    connection: sa.Connection, run_id: sa.ColumnElement[int], days: float | None, of_sweep: str, now: datetime
) -> Iterator[Limit]:
    """Of each sweep with an own one, then of all other runs."""
    rows = connection.execute(sa.select(tables.sweeps.c.name, tables.sweeps.c.spec)).all()
    own: dict[str, SweepRetention] = {row.name: row.spec.retention for row in rows}
    named = {name: kept for name, retention in own.items() if (kept := getattr(retention, of_sweep)) is not None}
    for name, kept in named.items():
        yield Limit(now - timedelta(days=kept), run_id.in_(_runs_of([name])))
    if days is not None:
        yield Limit(now - timedelta(days=days), run_id.not_in(_runs_of(list(named))))


def _runs_of(sweeps: list[str]) -> sa.Select[tuple[int]]:
    nights = tables.nights.c
    return sa.select(nights.run_id).where(nights.sweep.in_(sweeps), nights.run_id.is_not(None))
