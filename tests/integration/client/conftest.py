from collections.abc import Iterator

import pytest

from tests.integration.client.head import Head


@pytest.fixture(scope="package")
def one_head(tmp_path_factory) -> Iterator[Head]:
    head = Head(tmp_path_factory.mktemp("head"))
    head.start()
    yield head
    head.close()


@pytest.fixture
def head(one_head) -> Head:
    """Shared by all tests, alive at the start of each."""
    if not one_head.alive:
        one_head.start()
    return one_head


@pytest.fixture(autouse=True)
def no_settings_from_outside(tmp_path, monkeypatch) -> None:
    for name in ("FARM_URL", "FARM_TOKEN", "FARM_CONFIG", "FARM_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
