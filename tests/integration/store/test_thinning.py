"""Raw samples that are too old: what is left of them, whose they are, and that nothing is lost on the way."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from farm.store import retention, samples, tables
from farm.store.ages import Ages
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.store.transaction import NewJob
from farm.types import Blob, RunState, Scenario, SweepRetention, SweepSpec, UploadedModel
from tests.values import NOW, device, model_spec, recipe, result, run_spec, sha256

DAY = timedelta(days=1)
SAMPLES = [0.01 + 0.00001 * (index % 97) + 0.000001 * index for index in range(3000)]


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore((tmp_path / "artifacts").as_uri())


def add(store: Store, artifacts: ArtifactStore, after: timedelta = timedelta(), length: int = 3000) -> int:
    """A finished run of one job; the job's id. Each has files of its own."""
    with store.transaction() as t:
        t.upsert_device(device(), NOW)
        model = t.add_model(model_spec(), "ada", NOW)
        key = sha256("build")
        job = NewJob(recipe("pytorch"), key, None, "host-a", Scenario())
        run = t.add_run(run_spec(), model, [job], {key: recipe("pytorch")}, "ada", NOW)
        (made,) = t.jobs(run.id)
        attempt = t.add_attempt(made.id, 1, "host-a", "local", NOW)
        record = artifacts.put([f"record {made.id}".encode()], "record.json")
        t.end_attempt(attempt, "finished", NOW, measurement=record)
        parquet = samples.write([0.1 + made.id], SAMPLES[:length])
        t.add_result(result(made.id, measured_at=NOW + after), artifacts.put([parquet], "samples.parquet"))
        t.set_run(run.id, RunState.FINISHED, NOW + after)
    return made.id


def add_sweep(store: Store, name: str, kept: SweepRetention, run_id: int) -> None:
    spec = SweepSpec(name=name, model=UploadedModel(ref="net"), recipes=(recipe(),), devices="each", retention=kept)
    values = {"paused": False, "created_by": "ada", "created_at": NOW, "changed_at": NOW}
    night = {"due_at": NOW, "trigger": "schedule", "state": "examined", "requested_by": "ada", "run_id": run_id}
    with store.connected(writing=True) as connection:
        connection.execute(sa.insert(tables.sweeps).values(name=name, spec=spec, **values))
        connection.execute(sa.insert(tables.nights).values(sweep=name, **night))


def stored(store: Store, job_id: int) -> Blob:
    with store.reading() as reading:
        blob = reading.samples_blob(job_id)
    assert blob is not None
    return blob


def kept(store: Store, artifacts: ArtifactStore, job_id: int) -> samples.Samples:
    with artifacts.open(stored(store, job_id).sha256) as file:
        return samples.read(file.read())


def sweep(store: Store, artifacts: ArtifactStore, ages: Ages, days: float) -> None:
    for _ in retention.sweep(store, artifacts, ages, NOW + timedelta(days=days)):
        pass
    for _ in retention.discard_loose_blobs(store, artifacts, settled_seconds=0):
        pass


@given(st.integers(0, 2**32 - 1), st.integers(500, 5000))
def test_the_quantiles_that_results_have_stay_what_they_were(seed: int, count: int) -> None:
    values = np.random.default_rng(seed).lognormal(-4, 1, count).tolist()
    smaller = samples.thinned(samples.Samples([0.1], values))
    assert smaller is not None
    left = samples.read(smaller)
    assert (left.warmup_seconds, left.measured_seconds) == ([], [])
    assert left.thinned is not None
    assert (left.thinned.measured_count, left.thinned.warmup_count) == (len(values), 1)
    for per_mille in (0, 500, 900, 950, 990, 1000):
        expected = np.quantile(values, per_mille / 1000)
        assert left.thinned.quantiles_seconds[per_mille // 5] == pytest.approx(expected, rel=1e-9)
    assert samples.thinned(left) is None


def test_a_drift_can_still_be_seen() -> None:
    smaller = samples.thinned(samples.Samples([], [0.01] * 500 + [0.02] * 500))
    assert smaller is not None
    left = samples.read(smaller).thinned
    assert left is not None
    assert left.blocks_seconds == [0.01] * 10 + [0.02] * 10


def test_old_samples_are_thinned_and_new_ones_stay(store: Store, artifacts: ArtifactStore) -> None:
    old, new, few = add(store, artifacts), add(store, artifacts, 9 * DAY), add(store, artifacts, length=100)
    before = stored(store, old)
    sweep(store, artifacts, Ages(samples_days=5), 10)
    left = kept(store, artifacts, old).thinned
    assert left is not None
    assert left.measured_count == 3000
    assert not artifacts.exists(before.sha256)
    assert stored(store, old).size_bytes < before.size_bytes / 2
    assert kept(store, artifacts, new).measured_seconds == SAMPLES
    assert kept(store, artifacts, few).measured_seconds == SAMPLES[:100]
    with store.reading() as reading:
        assert [reading.attempts_of(job)[0].measurement is None for job in (old, new, few)] == [True, False, False]
        assert len(reading.history()) == 3
    sweep(store, artifacts, Ages(samples_days=5), 10)  # nothing is thinned twice
    assert kept(store, artifacts, old).thinned == left


def test_it_goes_on_where_it_was_broken_off(store: Store, artifacts: ArtifactStore) -> None:
    jobs = [add(store, artifacts) for _ in range(25)]
    gone = stored(store, jobs[3])
    assert artifacts.discard(gone.sha256, min_age_seconds=0)  # somebody deleted a file by hand
    list(itertools.islice(retention.sweep(store, artifacts, Ages(samples_days=1), NOW + 2 * DAY), 1))
    sweep(store, artifacts, Ages(samples_days=1), 2)
    assert all(kept(store, artifacts, job).thinned for job in jobs if job != jobs[3])
    assert stored(store, jobs[3]) == gone


def test_a_sweep_has_ages_of_its_own(store: Store, artifacts: ArtifactStore) -> None:
    long, short, plain = (add(store, artifacts) for _ in range(3))
    add_sweep(store, "long", SweepRetention(samples_days=100, runs_days=100), long)
    add_sweep(store, "short", SweepRetention(samples_days=1, runs_days=20), short)
    sweep(store, artifacts, Ages(runs_days=30, samples_days=5), 3)
    assert [bool(kept(store, artifacts, job).thinned) for job in (long, short, plain)] == [False, True, False]
    sweep(store, artifacts, Ages(runs_days=30, samples_days=5), 21)
    with store.reading() as reading:
        assert {run.id for run in reading.runs()} == {long, plain}  # one job each: their ids are the runs'
    sweep(store, artifacts, Ages(runs_days=30, samples_days=5), 31)
    assert kept(store, artifacts, long).measured_seconds == SAMPLES
    with store.reading() as reading:
        assert {run.id for run in reading.runs()} == {long}


def test_without_ages_all_stays(store: Store, artifacts: ArtifactStore) -> None:
    job = add(store, artifacts)
    sweep(store, artifacts, Ages(), 10_000)
    assert kept(store, artifacts, job).measured_seconds == SAMPLES


def test_history_gets_as_old_as_it_may(store: Store, artifacts: ArtifactStore) -> None:
    add(store, artifacts)
    young = add(store, artifacts, 9 * DAY)
    sweep(store, artifacts, Ages(history_days=5), 10)
    with store.reading() as reading:
        assert [point.job_id for point in reading.history()] == [young]
        assert len(reading.runs()) == 2
