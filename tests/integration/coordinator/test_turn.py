"""The coordinator's turns against a real store."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from farm.config import Settings
from farm.coordinator import events as ev
from farm.coordinator.coordinator import Coordinator, TurnFailed
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.store.transaction import NewJob
from farm.types import BuildState, JobState, Run, RunState, Scenario
from tests.values import NOW, device, model_spec, recipe, run_spec, sha256


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    store = Store(settings.resolved_database_url)
    store.migrate()
    with store.transaction() as tx:
        tx.upsert_device(device(), datetime.now(UTC))
    yield store
    store.close()


def new_coordinator(settings: Settings, store: Store) -> Coordinator:
    unused_cluster: Any = None
    return Coordinator(settings, store, ArtifactStore(settings.resolved_store_url), unused_cluster)


def test_a_store_that_refuses_a_turn_ends_the_coordinator(settings: Settings, store: Store) -> None:
    """Its followers outlive errors of the infrastructure; this one must get past them, for memory is ahead now."""
    coordinator = new_coordinator(settings, store)
    coordinator.turn(ev.DeviceOrdered(device().id, "drain"))
    with sqlite3.connect(settings.state_dir / "farm.db") as outside:
        outside.execute("DROP TABLE devices")
    with pytest.raises(TurnFailed):
        coordinator.turn(ev.DeviceOrdered(device().id, "resume"))


def test_a_large_run_is_taken_in_and_cancelled_in_portions_also_across_a_restart(
    settings: Settings, store: Store
) -> None:
    key, built = sha256("build"), recipe()
    with store.transaction() as tx:
        model = tx.add_model(model_spec(), "ada", NOW)
        jobs = [NewJob(built, key, None, device().id, Scenario(threads=threads)) for threads in range(1, 6)]
        run = tx.add_run(run_spec(), model, jobs, {key: built}, "ada", NOW)
        tx.set_build(key, BuildState.BUILT)

    def now() -> Run:
        with store.reading() as reading:
            return reading.run(run.id)

    async def take(portion: int, *, dies: bool = False) -> None:
        coordinator = new_coordinator(settings, store)
        coordinator.state.portion = portion
        async with asyncio.TaskGroup() as coordinator._tasks:
            await coordinator._take_submissions()
            if dies:
                assert coordinator._going_on is not None
                coordinator._going_on.cancel()

    asyncio.run(take(2, dies=True))
    assert now().jobs == {JobState.QUEUED: 2, JobState.WAITING: 3}
    asyncio.run(take(1))
    assert now().jobs == {JobState.QUEUED: 5}
    with store.transaction() as tx:
        tx.request_cancel(run.id, NOW)
    asyncio.run(take(2))
    assert now().jobs == {JobState.CANCELLED: 5}
    assert now().state is RunState.CANCELLED
