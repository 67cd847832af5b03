"""What an agent sends to its head."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from pathlib import Path

import pytest

from agents import delivery
from agents.delivery import Delivery
from farm.config import Settings
from farm.errors import InfrastructureError
from farm.store.artifacts import ArtifactStore
from farm.types import Blob, Role
from tests.integration.server.conftest import LiveFarm, serve

CONTENT = b"outputs " * 1000


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "_PAUSE_SECONDS", 0.01)


@pytest.fixture
def outputs(tmp_path: Path) -> tuple[Path, Blob]:
    path = tmp_path / "evaluation.npz"
    path.write_bytes(CONTENT)
    return path, Blob(name=path.name, sha256=hashlib.sha256(CONTENT).hexdigest(), size_bytes=len(CONTENT))


def agent_of(farm: LiveFarm, folder: Path, role: Role = Role.AGENT) -> Settings:
    """On another machine: its own state folder has nothing of the head's store."""
    return Settings(state_dir=folder / "elsewhere", url=farm.url, token=farm.tokens[role])


def stored(farm: LiveFarm, blob: Blob) -> bytes:
    with ArtifactStore(farm.settings.resolved_store_url).open(blob.sha256) as file:
        return file.read()


def test_a_joined_agent_sends_over_http(farm: LiveFarm, tmp_path: Path, outputs: tuple[Path, Blob]) -> None:
    known = farm.upload(b"reference", "reference.npz")
    for _ in range(2):
        asyncio.run(Delivery(agent_of(farm, tmp_path)).send(*outputs, known))
    assert stored(farm, outputs[1]) == CONTENT
    assert not (tmp_path / "elsewhere").exists()


def test_an_agent_that_sees_the_store_needs_no_token(
    farm: LiveFarm, tmp_path: Path, outputs: tuple[Path, Blob]
) -> None:
    known = farm.upload(b"reference", "reference.npz")
    settings = Settings(state_dir=tmp_path, url="http://127.0.0.1:1", store_url=farm.settings.resolved_store_url)
    for _ in range(2):
        asyncio.run(Delivery(settings).send(*outputs, known))
    assert stored(farm, outputs[1]) == CONTENT
    assert not list((farm.settings.state_dir / "store").glob("upload-*"))


def test_a_head_that_comes_back_in_time_gets_it(tmp_path: Path, outputs: tuple[Path, Blob]) -> None:
    with serve(Settings(state_dir=tmp_path / "head")) as farm:
        known = farm.upload(b"reference", "reference.npz")
        settings = agent_of(farm, tmp_path)
        store = farm.settings.state_dir / "store"
        hidden = store.rename(store.with_name("hidden"))
        store.write_text("the disk is away")

        def mend() -> None:
            time.sleep(0.1)
            store.unlink()
            hidden.rename(store)

        thread = threading.Thread(target=mend)
        thread.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(delivery, "_PAUSE_SECONDS", 0.1)
            asyncio.run(Delivery(settings).send(*outputs, known))
        thread.join()
        assert stored(farm, outputs[1]) == CONTENT


def test_a_head_that_stays_away_or_refuses_is_said(farm: LiveFarm, tmp_path: Path, outputs: tuple[Path, Blob]) -> None:
    known = farm.upload(b"reference", "reference.npz")
    with pytest.raises(InfrastructureError, match="it answered 403"):
        asyncio.run(Delivery(agent_of(farm, tmp_path, Role.VIEWER)).send(*outputs, known))
    away = agent_of(farm, tmp_path).model_copy(update={"url": "http://127.0.0.1:1"})
    with pytest.raises(InfrastructureError, match=r"evaluation.npz \(8,000 bytes\) could not be sent to the head"):
        asyncio.run(Delivery(away).send(*outputs, known))
