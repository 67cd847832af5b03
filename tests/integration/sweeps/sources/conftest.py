from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.config import Settings
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from tests.integration.sweeps.sources.ground import Ground


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """Sweeps may read below ``models`` and ``repositories``."""
    folders = (tmp_path / "models", tmp_path / "repositories")
    for folder in folders:
        folder.mkdir()
    settings = Settings(
        state_dir=tmp_path / "state", sweep_model_dirs=folders, allow_sweep_commands=True, max_upload_bytes=2**20
    )
    store = Store(f"sqlite:///{tmp_path}/farm.db")
    store.migrate()
    yield Ground(store, ArtifactStore((tmp_path / "store").as_uri()), settings)
    store.close()
