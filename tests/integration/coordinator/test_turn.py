"""The coordinator against a real store that stops taking writes."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from farm.config import Settings
from farm.coordinator import state as st
from farm.coordinator.coordinator import Coordinator, TurnFailed
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from tests.values import device


def test_a_store_that_refuses_a_turn_ends_the_coordinator(tmp_path: Path) -> None:
    """Its followers outlive errors of the infrastructure; this one must get past them, for memory is ahead now."""
    settings = Settings(state_dir=tmp_path)
    store = Store(settings.resolved_database_url)
    store.migrate()
    with store.transaction() as tx:
        tx.upsert_device(device(), datetime.now(UTC))
    unused_cluster: Any = None
    coordinator = Coordinator(settings, store, ArtifactStore(settings.resolved_store_url), unused_cluster)
    coordinator.turn(st.DeviceOrdered(device().id, "drain"))
    with sqlite3.connect(tmp_path / "farm.db") as outside:
        outside.execute("DROP TABLE devices")
    with pytest.raises(TurnFailed):
        coordinator.turn(st.DeviceOrdered(device().id, "resume"))
    store.close()
