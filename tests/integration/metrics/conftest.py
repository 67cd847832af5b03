from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.metrics.prometheus import INSTALLED, Prometheus
from tests.integration.server.conftest import farm
from tests.integration.store.conftest import database_url, store

__all__ = ["database_url", "farm", "store"]


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Prometheus]:
    if not INSTALLED:
        pytest.skip("there is no prometheus on PATH")
    started = Prometheus(tmp_path)
    started.start()
    yield started
    started.kill()
