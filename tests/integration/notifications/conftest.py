from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.store.database import Store
from tests.integration.notifications.receiver import FakeGitHub, Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().running() as running:
        yield running


@pytest.fixture
def github() -> Iterator[FakeGitHub]:
    made = FakeGitHub("ghs_very-secret-token")
    with made.running():
        yield made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(f"sqlite:///{tmp_path}/farm.db")
    made.migrate()
    yield made
    made.close()
