"""A store with a model and a device, and the sweep that most tests are about."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from farm.config import Settings
from farm.recipes.presets import preset
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.sweeps import sources
from farm.sweeps.nights import Nights
from farm.types import Schedule, SweepSpec, UploadedModel
from tests.integration.store.conftest import database_url  # noqa: F401 - a fixture: SQLite, and PostgreSQL
from tests.values import device, model_spec

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def sweep_spec(name: str = "nightly", cron: str | None = "0 2 * * *", **changes: Any) -> SweepSpec:
    fields: dict[str, Any] = {
        "model": UploadedModel(ref="net"),
        "recipes": (preset("pytorch"), preset("torchscript")),
        "devices": "each",
        "schedule": Schedule(cron=cron) if cron else None,
    }
    return SweepSpec(name=name, **fields | changes)


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:  # noqa: F811
    return Settings(state_dir=tmp_path / "state", database_url=database_url)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    store = Store(settings.resolved_database_url)
    store.migrate()
    with store.transaction() as tx:
        tx.add_model(model_spec("net"), "ada", NOW)
        tx.upsert_device(device(runtimes=("pytorch", "torchscript")), NOW)
    yield store
    store.close()


@pytest.fixture
def artifacts(settings: Settings) -> ArtifactStore:
    return ArtifactStore(settings.resolved_store_url)


@pytest.fixture
def nights(store: Store, artifacts: ArtifactStore, settings: Settings) -> Nights:
    return Nights(store, artifacts, settings, sources.prepare)
