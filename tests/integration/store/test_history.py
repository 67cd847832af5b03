"""A line of history per result: what it says, how it is read, and that it stays."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from farm.analysis.quantities import figures_of
from farm.store import tables
from farm.store.database import Store
from farm.store.retention import delete_run
from farm.types import Estimate, Parity, Reason, Result, SweepSpec, UploadedModel, Verdict, VerdictLevel
from tests.integration.metrics.results import add_results, now
from tests.values import blob, recipe, result


def only_result(store: Store) -> Result:
    with store.reading() as reading:
        (run,) = reading.runs()
        (outcome,) = reading.outcomes(run.id)
    assert outcome.result is not None
    return outcome.result


def test_a_line_says_whose_and_what_it_is(store: Store) -> None:
    at = now()
    verdict = Verdict(
        level=VerdictLevel.SUSPECT, reasons=(Reason(code="throttled", level=VerdictLevel.SUSPECT, text="hot"),)
    )
    add_results(store, [at], verdict=verdict)
    with store.reading() as reading:
        (point,) = reading.history(model_name="net", variant="variant-0", device_id="phone-0000")
        (run,) = reading.runs()
        (job,) = reading.jobs(run.id)
    assert (point.job_id, point.run_id, point.night_id) == (job.id, run.id, None)
    assert (point.model_id, point.build_key, point.scenario) == (run.model_id, job.build_key, "single-stream/2t")
    assert (point.virtual, point.trusted, point.verdict, point.reasons) == (True, False, "suspect", ("throttled",))
    assert point.measured_at == at
    assert point.figures == figures_of(only_result(store))
    assert type(point).model_validate_json(point.model_dump_json()) == point


def test_what_is_no_number_stays_out(store: Store) -> None:
    nan = Parity(samples=1, max_abs_error=0, max_rel_error=0, reference_abs_max=0, cosine=float("nan"), snr_db=0)
    add_results(store, [now()], parity=nan)
    with store.reading() as reading:
        (point,) = reading.history()
    assert "parity_cosine" not in point.figures
    assert "latency_p50" in point.figures


def test_a_second_result_of_a_job_changes_nothing(store: Store) -> None:
    add_results(store, [now()])
    with store.transaction() as tx:
        (before,) = tx.history()
        assert not tx.add_result(result(before.job_id, latency_mean_seconds=9.0), blob("other"))
        assert tx.history() == [before]


def test_it_is_searched_and_paged(store: Store) -> None:
    days = [now() - timedelta(days=back) for back in (2, 1, 0)]
    add_results(store, days, devices=2, variants=2)
    series: dict[str, Any] = {"model_name": "net", "variant": "variant-1", "device_id": "phone-0001"}
    with store.reading() as reading:
        assert len(reading.history()) == 12
        assert [point.measured_at for point in reading.history(**series)] == days[::-1]
        assert [point.measured_at for point in reading.history(**series, since=days[1])] == days[:0:-1]
        assert reading.history(**series, scenario="single-stream/1t") == []
        first = reading.history(**series, limit=2)
        assert [point.measured_at for point in reading.history(**series, before=first[-1].job_id)] == days[:1]


def test_it_stays_when_the_run_is_deleted(store: Store) -> None:
    add_results(store, [now()])
    with store.reading() as reading:
        before = reading.history()
    for _ in delete_run(store, before[0].run_id):
        pass
    with store.reading() as reading:
        assert reading.runs() == []
        assert reading.history() == before
        assert reading.points_of_run(before[0].run_id) == before


@pytest.fixture
def nightly(store: Store) -> Store:
    """Three nights of one sweep with two devices each, and a run of nobody's."""
    days = [now() - timedelta(days=back) for back in (2, 1, 0)]
    with store.connected(writing=True) as connection:
        spec = SweepSpec(name="every-night", model=UploadedModel(ref="net"), recipes=(recipe(),), devices="each")
        connection.execute(
            sa.insert(tables.sweeps).values(
                name=spec.name, spec=spec, paused=False, created_by="ada", created_at=days[0], changed_at=days[0]
            )
        )
        for number, day in enumerate(days, 1):
            connection.execute(
                sa.insert(tables.nights).values(
                    sweep="every-night",
                    due_at=day,
                    trigger="schedule",
                    state="running",
                    requested_by="ada",
                    run_id=number,
                )
            )
    add_results(store, [*days, now()], devices=2)
    return store


def test_points_of_a_sweep_are_those_of_its_nights(nightly: Store) -> None:
    with nightly.reading() as reading:
        points = reading.night_points("every-night")
        assert [(point.run_id, point.device_id) for point in points] == [
            (run, device) for run in (1, 2, 3) for device in ("phone-0000", "phone-0001")
        ]
        assert [point.night_id for point in points] == [1, 1, 2, 2, 3, 3]
        assert {point.run_id for point in reading.night_points("every-night", nights=2)} == {2, 3}
        since = now() - timedelta(days=1, hours=1)
        assert {point.run_id for point in reading.night_points("every-night", since=since)} == {2, 3}
        (first, *_) = reading.night_points("every-night", metrics=("latency_p50", "artifact_size"))
        assert first.figures == {name: points[0].figures[name] for name in ("latency_p50", "artifact_size")}
        assert first.figures["artifact_size"] == Estimate(value=10, low=10, high=10)
        assert reading.night_points("another") == []
