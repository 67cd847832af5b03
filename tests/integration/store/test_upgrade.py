"""A database with results in it, from the schema without the outbox to today's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import alembic.autogenerate
import alembic.command
import sqlalchemy as sa
from alembic.config import Config
from alembic.migration import MigrationContext

from farm.store.database import MIGRATIONS, Store
from farm.store.tables import metadata
from farm.types import Evaluation, Parity, Reason, Result, Verdict, VerdictLevel
from tests.integration.metrics.results import add_results, now, outbox_states

_ELSEWHERE = timezone(timedelta(hours=5, minutes=30))


def results_of(store: Store) -> dict[int, Result]:
    with store.reading() as reading:
        found = reading.measured_between(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
        return {measured.job.id: measured.result for measured in found}


def copy_as_of(revision: str, source: sa.Engine, target: sa.Engine) -> None:
    """Make the schema of that revision, and fill its tables with what those of the same name have in ``source``."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with target.begin() as writing:
        config.attributes["connection"] = writing
        alembic.command.upgrade(config, revision)
    old, new = sa.MetaData(), sa.MetaData()
    old.reflect(target)
    new.reflect(source)
    with source.connect() as reading, target.begin() as writing:
        for table in old.sorted_tables:
            if table.name == "alembic_version":
                continue
            columns = [new.tables[table.name].c[column.name] for column in table.c]
            rows = [
                {
                    name: value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
                    for name, value in row.items()
                }
                for row in reading.execute(sa.select(*columns)).mappings()
            ]
            if rows:
                writing.execute(sa.insert(table), rows)


def test_results_get_their_time_and_their_history(database_url: str, tmp_path: Path) -> None:
    today = Store(f"sqlite:///{tmp_path}/today.db")
    today.migrate()
    at = now() - timedelta(days=3)
    endless = Parity(samples=1, max_abs_error=0, max_rel_error=0, reference_abs_max=0, cosine=float("inf"), snr_db=0)
    score = {"accuracy": 0.75, "balanced_accuracy": 0.7}
    labelled = Evaluation(
        task="classification", samples=9, score="accuracy", metrics=score, reference_metrics=score, confidence=0.95
    )
    mae = {"mae": 2.0}
    error = labelled.model_copy(
        update={"score": "mae", "higher_is_better": False, "metrics": mae, "reference_metrics": mae}
    )
    suspect = Verdict(
        level=VerdictLevel.SUSPECT, reasons=(Reason(code="throttled", level=VerdictLevel.SUSPECT, text="hot"),)
    )
    add_results(today, [at], publish=False, parity=endless, evaluation=labelled, verdict=suspect, batch=4)
    add_results(today, [at], publish=False, parity=None, evaluation=error, latency_seconds={}, power_watts=None)
    add_results(today, [at, at + timedelta(days=1)], devices=60, variants=5, publish=False)  # more than go at once
    add_results(today, [at], publish=False, measured_at=(at + timedelta(minutes=7)).astimezone(_ELSEWHERE))
    source = sa.create_engine(f"sqlite:///{tmp_path}/today.db", poolclass=sa.NullPool)
    url = database_url.replace("postgresql://", "postgresql+psycopg://")
    target = sa.create_engine(url, poolclass=sa.NullPool)
    copy_as_of("0003", source, target)

    store = Store(database_url)
    store.migrate()
    try:
        with target.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert alembic.autogenerate.compare_metadata(context, metadata) == []
        expected = results_of(today)
        assert len(expected) == 603
        assert results_of(store) == expected
        with store.reading() as reading, today.reading() as wanted:
            assert reading.devices() == wanted.devices()
            assert reading.history(limit=1000) == wanted.history(limit=1000)
            # One of them was written down in another time zone: searched for in UTC all the same.
            begin = at + timedelta(minutes=6)
            assert len(list(reading.measured_between(begin, begin + timedelta(minutes=2)))) == 1
            assert reading.first_result_at() == at
        assert outbox_states(store) == {
            "pending": 0,
            "done": 0,
            "dead": 0,
        }  # what was there is pushed by `rebuild` only
    finally:
        store.close()
        today.close()
