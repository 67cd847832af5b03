from collections.abc import Callable, Iterator

import pytest

from farm.config import Settings
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from tests.integration.sweeps.regressions.story import Story


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """With nothing in it."""
    store = Store(settings.resolved_database_url)
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def story(store: Store, artifacts: ArtifactStore, settings: Settings) -> Callable[..., Story]:
    def make(**changes: object) -> Story:
        fields: dict[str, object] = {"devices": [f"phone-{number:02d}" for number in range(6)]}
        return Story(store, artifacts, settings, **fields | changes)  # type: ignore[arg-type]

    return make
