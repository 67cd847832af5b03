"""Old runs go while the coordinator works, and only if the farm is set so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from farm.coordinator.housekeeping import keep_house
from farm.store.ages import Ages
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.types import RunState
from tests.values import NOW, model_spec, run_spec


@pytest.mark.parametrize("retention_days", [1.0, None])
def test_old_runs_go_if_it_is_so_set(tmp_path: Path, retention_days: float | None) -> None:
    store, artifacts = Store(f"sqlite:///{tmp_path}/farm.db"), ArtifactStore((tmp_path / "store").as_uri())
    store.migrate()
    with store.transaction() as t:
        model = t.add_model(model_spec(), "ada", NOW)
        old, active = (t.add_run(run_spec(), model, [], {}, "ada", NOW).id for _ in range(2))
        t.set_run(old, RunState.FINISHED, NOW)

    def ids() -> list[int]:
        with store.reading() as reading:
            return [run.id for run in reading.runs()]

    async def until_it_pauses() -> None:
        house = asyncio.create_task(keep_house(store, artifacts, Ages(retention_days)))
        for _ in range(100):
            await asyncio.sleep(0.02)
            if ids() == [active]:
                break
        assert not house.done()
        house.cancel()

    asyncio.run(until_it_pauses())
    assert ids() == ([active] if retention_days else [active, old])
    store.close()
