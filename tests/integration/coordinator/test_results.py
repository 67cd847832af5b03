"""What becomes of measurements: those that come too late are kept and not counted, those that a full disk does not
take wait for room."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farm.config import Settings
from farm.coordinator import follower
from farm.coordinator.coordinator import Coordinator
from farm.coordinator.follower import AgentFollower
from farm.errors import InfrastructureError
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.store.transaction import JobChange
from farm.types import AgentEvent, BuildState, JobState
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

    def take(self, *, times: int = 1) -> None:
        """The agent reports a measurement."""
        measured = measurement([0.01, 0.011] * 100, self.job.id, attempt_id=self.attempt_id)
        event = AgentEvent(seq=1, attempt_id=self.attempt_id, epoch=1, kind="measured", at=NOW, measurement=measured)

        async def scene() -> None:
            async with asyncio.TaskGroup() as self.coordinator._tasks:
                lab = AgentFollower("lab", self.coordinator)
                for _ in range(times):
                    ((_, task),) = lab._take("journal", [event])
                    assert task is not None
                    await task

        asyncio.run(scene())

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
