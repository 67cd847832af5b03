"""What becomes of measurements: those that come too late are kept and not counted, those that a full disk does not
take wait for room."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from farm.config import Settings
from farm.coordinator import follower
from farm.coordinator.coordinator import Coordinator
from farm.coordinator.follower import AgentFollower
from farm.errors import InfrastructureError
from farm.store import retention, tables
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.store.transaction import JobChange
from farm.types import AgentEvent, Blob, BuildState, EvaluationSpec, JobState, RunState
from tests.integration.store.test_transaction import FAILURE, KEYS, submit
from tests.unit.analysis.outcomes import measurement
from tests.values import NOW, artifact


class Bench:
    """One job with one attempt."""

    def __init__(self, folder: Path) -> None:
        settings = Settings(state_dir=folder)
        self.store = Store(settings.resolved_database_url)
        self.store.migrate()
        self.artifacts = ArtifactStore(settings.resolved_store_url)
        unused_cluster: Any = None
        self.coordinator = Coordinator(settings, self.store, self.artifacts, unused_cluster)
        with self.store.transaction() as tx:
            run = submit(tx)
            for key in KEYS.values():
                tx.set_build(key, BuildState.BUILT, artifact(key), None)
            self.job = tx.jobs(run.id)[0]
            self.attempt_id = tx.add_attempt(self.job.id, 1, self.job.device_id, "lab", NOW)
            tx.set_jobs([JobChange(self.job.id, JobState.RUNNING, epoch=1)])

    def take(self, *, times: int = 1, **fields: Any) -> None:
        """The agent reports a measurement."""
        measured = measurement([0.01, 0.011] * 100, self.job.id, attempt_id=self.attempt_id, **fields)
        event = AgentEvent(seq=1, attempt_id=self.attempt_id, epoch=1, kind="measured", at=NOW, measurement=measured)

        async def scene() -> None:
            async with asyncio.TaskGroup() as self.coordinator._tasks:
                lab = AgentFollower("lab", self.coordinator)
                for _ in range(times):
                    ((_, task),) = lab._take("journal", [event])
                    assert task is not None
                    await task

        asyncio.run(scene())

    def put_arrays(self, name: str, arrays: dict[str, np.ndarray]) -> Blob:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return self.artifacts.put([buffer.getvalue()], name)

    def label(self) -> Blob:
        """Give the job's model a labelled set of two samples; the device's answers to it, which are right."""
        answers = {"0.0": np.array([[0.9, 0.1]]), "1.0": np.array([[0.2, 0.8]])}
        evaluation = EvaluationSpec(
            task="classification",
            inputs=self.put_arrays("inputs.npz", {"0.0": np.zeros((1, 3)), "1.0": np.ones((1, 3))}),
            labels=self.put_arrays("labels.npz", {"labels": np.array([0, 1])}),
            samples=2,
            reference_outputs=self.put_arrays("reference.npz", answers),
        )
        with self.store.transaction() as tx:
            (model,) = tx.models()
            spec = model.spec.model_copy(update={"evaluation": evaluation})
            tx._connection.execute(sa.update(tables.models).values(spec=spec))
        return self.put_arrays("evaluation.npz", {name: array + 0.01 for name, array in answers.items()})

    def swept(self, blob: Blob) -> bool:
        """Whether the file goes once what is loose is removed."""
        for _ in retention.discard_loose_blobs(self.store, self.artifacts, settled_seconds=0):
            pass
        return not self.artifacts.exists(blob.sha256)

    def resume(self) -> None:
        """The coordinator as it starts on this store."""
        self.coordinator._resume()
        asyncio.run(self.coordinator._take_submissions())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.coordinator.concluder.close()
    made.store.close()


def test_what_a_superseded_attempt_measured_is_kept_once_and_is_no_result(bench: Bench) -> None:
    with bench.store.transaction() as tx:
        tx.end_attempt(bench.attempt_id, "failed", NOW, FAILURE)  # its lease ran out
        tx.set_jobs([JobChange(bench.job.id, JobState.QUEUED)])
    bench.take(times=2)
    with bench.store.reading() as reading:
        (attempt,) = reading.attempts_of(bench.job.id)
        assert attempt.state == "superseded"
        assert attempt.failure == FAILURE.model_copy(update={"log_tail": attempt.failure.log_tail})
        assert attempt.measurement is not None
        assert b'"attempt_id":' in bench.artifacts.open(attempt.measurement.sha256).read()
        assert reading.job(bench.job.id).state is JobState.QUEUED
        assert [outcome.result for outcome in reading.outcomes(bench.job.run_id)] == [None] * 2


def test_a_result_waits_while_the_disk_is_full(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "_ROOM_SECONDS", 0.01)
    bench.resume()
    put, refusals = bench.artifacts.put, iter(range(3))

    def full(*args: Any, **options: Any) -> Any:
        if next(refusals, None) is not None:
            raise InfrastructureError("It was not stored: the disk is full.", remedy="Free space.")
        return put(*args, **options)

    monkeypatch.setattr(bench.artifacts, "put", full)
    bench.take()
    with bench.store.reading() as reading:
        assert reading.job(bench.job.id).state is JobState.FINISHED
        (attempt,) = reading.attempts_of(bench.job.id)
        assert attempt.state == "finished"


def test_answers_on_a_labelled_set_are_scored_and_go_with_their_run(bench: Bench) -> None:
    outputs = bench.label()
    bench.resume()
    bench.take(evaluation_outputs=outputs, evaluation_seconds=0.5)
    with bench.store.reading() as reading:
        (outcome, _) = reading.outcomes(bench.job.run_id)
    assert outcome.result is not None
    evaluation = outcome.result.evaluation
    assert evaluation is not None, outcome.result.absent
    assert (evaluation.metrics["accuracy"], evaluation.reference_metrics["accuracy"]) == (1, 1)
    assert evaluation.outputs == outputs
    assert not bench.swept(outputs)
    with bench.store.transaction() as tx:
        tx.set_jobs([JobChange(job.id, JobState.FINISHED) for job in tx.jobs(bench.job.run_id)])
        tx.set_run(bench.job.run_id, RunState.FINISHED, NOW)
    for _ in retention.delete_run(bench.store, bench.job.run_id):
        pass
    assert bench.swept(outputs)


def test_answers_that_cannot_be_scored_are_absent_with_the_reason_and_go(bench: Bench) -> None:
    bench.label()
    one = bench.put_arrays("evaluation.npz", {"0.0": np.array([[0.9, 0.1]])})
    bench.resume()
    bench.take(evaluation_outputs=one, evaluation_seconds=0.5)
    with bench.store.reading() as reading:
        (outcome, _) = reading.outcomes(bench.job.run_id)
    assert outcome.result is not None
    assert outcome.result.evaluation is None
    assert "outputs are of 1 samples, the evaluation set has 2" in outcome.result.absent["evaluation"]
    assert outcome.result.latency_seconds["p50"].value > 0
    assert bench.swept(one)


def test_answers_of_a_superseded_attempt_go(bench: Bench) -> None:
    outputs = bench.label()
    with bench.store.transaction() as tx:
        tx.end_attempt(bench.attempt_id, "failed", NOW, FAILURE)
        tx.set_jobs([JobChange(bench.job.id, JobState.QUEUED)])
    bench.take(evaluation_outputs=outputs, evaluation_seconds=0.5)
    assert bench.swept(outputs)


def test_a_driver_that_runs_no_labelled_sets_is_said(bench: Bench) -> None:
    bench.label()
    bench.resume()
    bench.take()
    with bench.store.reading() as reading:
        (outcome, _) = reading.outcomes(bench.job.run_id)
    assert outcome.result is not None
    assert "does not run evaluation sets" in outcome.result.absent["evaluation"]
