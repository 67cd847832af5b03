"""A real API: uvicorn on a free port, SQLite, an artifact folder, one token per role."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn

from farm.config import Settings
from farm.server.__main__ import listen
from farm.server.app import API_PREFIX, create_app
from farm.server.tokens import new_token, token_sha256
from farm.store.database import Store
from farm.types import Blob, Device, Problem, Role
from tests.values import device, model_spec

RUNTIMES = ("pytorch", "torchscript", "pytorch-mobile", "executorch", "onnxruntime", "litert")


@dataclass
class LiveFarm:
    """The server, and the store behind it as the coordinator sees it."""

    url: str
    store: Store
    settings: Settings
    tokens: dict[Role, str]

    def client(self, role: Role | None = Role.USER, **options: Any) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.tokens[role]}"} if role else {}
        return httpx.Client(base_url=self.url + API_PREFIX, headers=headers, timeout=20, trust_env=False, **options)

    def add_device(self, added: Device | None = None) -> None:
        with self.store.transaction() as t:
            t.upsert_device(added or device(runtimes=RUNTIMES), datetime.now(UTC))

    def upload(self, content: bytes, name: str) -> Blob:
        sha256 = hashlib.sha256(content).hexdigest()
        with self.client() as http:
            response = http.put(f"/blobs/{sha256}", params={"name": name}, content=content)
        assert response.status_code == 201, response.text
        return Blob.model_validate(response.json())

    def add_model(self, **changes: Any) -> dict[str, Any]:
        arrays = io.BytesIO()
        np.savez(arrays, **{"0.0": np.zeros((1, 3), np.float32)})
        inputs = self.upload(arrays.getvalue(), "inputs.npz")
        fields = {
            "program": self.upload(b"a program", "model.pt2"),
            "example_inputs": inputs,
            "parity_inputs": inputs,
            "reference_outputs": inputs,
        }
        spec = model_spec(**fields | changes)
        with self.client() as http:
            response = http.post("/models", content=spec.model_dump_json())
        assert response.status_code == 200, response.text
        return response.json()


def problem(response: httpx.Response, status: int, code: str) -> Problem:
    """The answer as the problem document that it must be."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), (
        response.text
    )
    parsed = Problem.model_validate_json(response.content)
    assert (parsed.status, parsed.code) == (status, code), parsed
    assert parsed.remedy
    return parsed


@contextmanager
def serve(settings: Settings) -> Iterator[LiveFarm]:
    store = Store(settings.resolved_database_url)
    store.migrate()
    tokens = {role: new_token() for role in Role}
    with store.transaction() as t:
        for role, token in tokens.items():
            t.add_token(f"the-{role}", role, token_sha256(token), datetime.now(UTC))
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_config=None, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        deadline = time.monotonic() + 20
        while not server.started and thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            yield LiveFarm(f"http://127.0.0.1:{listener.getsockname()[1]}", store, settings, tokens)
        finally:
            server.should_exit = True
            thread.join(timeout=20)
            store.close()
    assert not thread.is_alive()


@pytest.fixture
def farm(tmp_path) -> Iterator[LiveFarm]:
    with serve(Settings(state_dir=tmp_path, max_upload_bytes=5_000_000)) as live:
        yield live


@pytest.fixture(scope="session")
def standing_farm(tmp_path_factory) -> Iterator[LiveFarm]:
    """For tests that change nothing, or do not care what else is there."""
    with serve(Settings(state_dir=tmp_path_factory.mktemp("farm"), max_upload_bytes=5_000_000)) as live:
        live.add_device()
        live.add_model()
        yield live
