"""What is deleted, what stays, and that nothing is deleted that something refers to."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from farm.errors import ConflictError, NotFoundError
from farm.store import retention
from farm.store.ages import Ages
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.store.transaction import NewJob
from farm.types import Blob, BuildState, Failure, RunState, Scenario
from tests.values import NOW, artifact, device, model_spec, recipe, result, run_spec, sha256

DAY = timedelta(days=1)
CUTOFF = NOW + 10 * DAY
AGES = Ages(runs_days=1)
PYTORCH = recipe("pytorch")


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore((tmp_path / "artifacts").as_uri())


def put(artifacts: ArtifactStore, content: str) -> Blob:
    return artifacts.put([content.encode()], "file")


def add_run(store: Store, blobs: list[tuple[Blob, Blob]], *, events: int = 0) -> int:
    """With a finished job per (record, samples)."""
    with store.transaction() as t:
        t.upsert_device(device(), NOW)
        model = t.add_model(model_spec(), "ada", NOW)
        key = sha256("build")
        job = NewJob(PYTORCH, key, None, "host-a", Scenario())
        run = t.add_run(run_spec(), model, [job] * len(blobs), {key: PYTORCH}, "ada", NOW)
        for job, (record, samples) in zip(t.jobs(run.id), blobs, strict=True):
            attempt = t.add_attempt(job.id, 1, "host-a", "local", NOW)
            t.end_attempt(attempt, "finished", NOW, measurement=record)
            t.add_result(result(job.id), samples)
        for _ in range(events):
            t.append_event(run.id, "job", "1", "running", "a text " * 10, NOW)
    return run.id


def end(store: Store, run_id: int, after: timedelta = DAY, state: RunState = RunState.FINISHED) -> None:
    with store.transaction() as t:
        t.set_run(run_id, state, NOW + after)


def finish(steps: Iterator[None]) -> int:
    return sum(1 for _ in steps)


def sweep(store: Store, artifacts: ArtifactStore) -> None:
    finish(retention.sweep(store, artifacts, AGES, CUTOFF + DAY))
    finish(retention.discard_loose_blobs(store, artifacts, settled_seconds=0))


class TestRuns:
    def test_a_run_goes_with_all_that_hangs_on_it(self, store: Store, artifacts: ArtifactStore) -> None:
        record, samples = put(artifacts, "record"), put(artifacts, "samples")
        old, kept = add_run(store, [(record, samples)], events=3), add_run(store, [(record, record)], events=3)
        end(store, old)
        end(store, kept, 11 * DAY)
        with store.reading() as r:
            (old_job,), (kept_job,), before = r.jobs(old), r.jobs(kept), r.events_after(0, kept)
        sweep(store, artifacts)
        with store.reading() as r:
            assert [run.id for run in r.runs()] == [kept]
            assert r.jobs(old) == r.attempts_of(old_job.id) == r.events_after(0, old) == []
            assert r.samples_blob(old_job.id) is None
            assert len(r.attempts_of(kept_job.id)) == 1
            assert r.events_after(0) == before
            assert [model.spec for model in r.models()] == [model_spec()]
            assert r.build(sha256("build")).key == sha256("build")
        assert (artifacts.exists(record.sha256), artifacts.exists(samples.sha256)) == (True, False)

    def test_without_a_time_no_run_goes(self, store: Store, artifacts: ArtifactStore) -> None:
        end(store, add_run(store, []))
        finish(retention.sweep(store, artifacts, Ages(), CUTOFF))
        with store.reading() as r:
            assert len(r.runs()) == 1

    def test_what_is_not_over_is_refused_and_swept_past(self, store: Store, artifacts: ArtifactStore) -> None:
        file = put(artifacts, "file")
        active, measuring = add_run(store, [(file, file)]), add_run(store, [(file, file)])
        with store.transaction() as t:
            (job,) = t.jobs(measuring)
            late = t.add_attempt(job.id, 2, "host-a", "local", NOW)
        end(store, measuring, state=RunState.CANCELLED)
        sweep(store, artifacts)
        with pytest.raises(ConflictError, match="is active"):
            finish(retention.delete_run(store, active))
        with pytest.raises(ConflictError, match="worked out"):
            finish(retention.delete_run(store, measuring))
        with store.transaction() as t:
            assert len(t.jobs(active)) == len(t.jobs(measuring)) == 1
            t.end_attempt(late, "cancelled", NOW)
        sweep(store, artifacts)
        with pytest.raises(NotFoundError):
            finish(retention.delete_run(store, measuring))

    def test_it_goes_on_where_it_was_broken_off(
        self, store: Store, artifacts: ArtifactStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retention, "JOBS_PER_STEP", 2)
        monkeypatch.setattr(retention, "BLOBS_PER_STEP", 2)
        blobs = [(put(artifacts, f"record {n}"), put(artifacts, f"samples {n}")) for n in range(5)]
        run_id = add_run(store, blobs)
        end(store, run_id)
        for steps in range(8):
            list(itertools.islice(retention.sweep(store, artifacts, AGES, CUTOFF + DAY), steps))
            list(itertools.islice(retention.discard_loose_blobs(store, artifacts, settled_seconds=0), 1))
        sweep(store, artifacts)
        with store.reading() as r:
            assert r.runs() == []
        assert not any(artifacts.exists(blob.sha256) for pair in blobs for blob in pair)


class TestLogs:
    def built(self, store: Store, log: Blob) -> None:
        made = artifact(sha256("build"))
        made = made.model_copy(update={"report": made.report.model_copy(update={"log": log})})
        with store.transaction() as t:
            t.set_build(made.key, BuildState.BUILT, made)

    def test_a_log_goes_with_the_last_job_of_its_build_and_the_artifact_stays(
        self, store: Store, artifacts: ArtifactStore
    ) -> None:
        record, log = put(artifacts, "record"), put(artifacts, "log")
        old, last = add_run(store, [(record, record)]), add_run(store, [(record, record)])
        self.built(store, log)
        end(store, old)
        sweep(store, artifacts)
        assert artifacts.exists(log.sha256)
        end(store, last)
        sweep(store, artifacts)
        assert not artifacts.exists(log.sha256)
        with store.reading() as r:
            build = r.build(sha256("build"))
        assert build.state is BuildState.BUILT
        assert build.built.report.log is None

    def test_the_log_of_a_try_goes_when_the_next_one_takes_its_place(
        self, store: Store, artifacts: ArtifactStore
    ) -> None:
        record, first, second = (put(artifacts, text) for text in ("record", "first", "second"))
        failure = Failure(fault="recipe", code="build-failed", message="It failed.", remedy="Try again.")
        add_run(store, [(record, record)])
        for log in (first, second):
            with store.transaction() as t:
                t.set_build(sha256("build"), BuildState.FAILED, failure=failure.model_copy(update={"log": log}))
        sweep(store, artifacts)
        assert (artifacts.exists(first.sha256), artifacts.exists(second.sha256)) == (False, True)
        add_run(store, [(record, record)])  # tries the build again
        sweep(store, artifacts)
        assert not artifacts.exists(second.sha256)


class TestFiles:
    @pytest.mark.parametrize("seed", range(12))
    def test_nothing_goes_that_something_refers_to(self, store: Store, artifacts: ArtifactStore, seed: int) -> None:
        """Runs, builds and models that share files at random; some runs are deleted, in any order, others come."""
        rng = random.Random(seed)  # noqa: S311 - the same every time
        files = [put(artifacts, f"{number}") for number in range(8)]
        runs: dict[int, set[str]] = {}  # to what they refer
        kept: set[str] = set()  # by models and builds
        once: set[str] = set()  # by runs, at some time
        for step in range(20):
            there = [file for file in files if artifacts.exists(file.sha256)]
            match rng.choice(["model", "build", "delete", "discard", "run", "run"]):
                case "model" if there:
                    file = rng.choice(there)
                    with store.transaction() as t:
                        t.add_model(model_spec(f"model-{step}", calibration_inputs=file), "ada", NOW)
                    kept.add(file.sha256)
                case "build" if there:
                    file, key = rng.choice(there), sha256(f"{step}")
                    built = artifact(key).model_copy(update={"files": (file,)})
                    with store.transaction() as t:
                        t.add_run(run_spec(), t.add_model(model_spec(), "ada", NOW), [], {key: PYTORCH}, "ada", NOW)
                        t.set_build(key, BuildState.BUILT, artifact=built)
                    kept.add(file.sha256)
                case "delete" if runs:
                    run_id = rng.choice(list(runs))
                    end(store, run_id, state=rng.choice([RunState.FINISHED, RunState.CANCELLED]))
                    finish(retention.delete_run(store, run_id))
                    del runs[run_id]
                case "discard":
                    finish(retention.discard_loose_blobs(store, artifacts, settled_seconds=0))
                case "run" if there:
                    pairs = [(rng.choice(there), rng.choice(there)) for _ in range(rng.randrange(3))]
                    run_id = add_run(store, pairs)
                    runs[run_id] = {blob.sha256 for pair in pairs for blob in pair}
                    once |= runs[run_id]
        finish(retention.discard_loose_blobs(store, artifacts, settled_seconds=0))
        used = kept.union(*runs.values())
        there_now = {file.sha256 for file in files if artifacts.exists(file.sha256)}
        assert there_now == {file.sha256 for file in files if file.sha256 in used or file.sha256 not in once}

    def test_what_was_stored_again_just_now_stays_for_who_stored_it(
        self, store: Store, artifacts: ArtifactStore
    ) -> None:
        file = put(artifacts, "file")
        run_id = add_run(store, [(file, file)])
        end(store, run_id)
        finish(retention.sweep(store, artifacts, AGES, CUTOFF + DAY))
        assert artifacts.exists(file.sha256)
        finish(retention.discard_loose_blobs(store, artifacts, settled_seconds=0))
        assert not artifacts.exists(file.sha256)


def test_a_sqlite_file_shrinks(tmp_path: Path, artifacts: ArtifactStore) -> None:
    path = tmp_path / "farm.db"
    store = Store(f"sqlite:///{path}")
    store.migrate()
    end(store, add_run(store, [], events=20_000))
    full = size(store, path)
    sweep(store, artifacts)
    assert size(store, path) < full / 4
    store.close()


def size(store: Store, path: Path) -> int:
    """With the write-ahead log taken in."""
    store.close()
    return path.stat().st_size
