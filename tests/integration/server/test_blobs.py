"""Uploads and downloads of files, whole, cut, too large, damaged, slow."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from farm.config import Settings
from farm.types import Blob, Role
from tests.integration.server.conftest import LiveFarm, problem, serve

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def stored(farm: LiveFarm) -> list[Path]:
    return [path for path in (farm.settings.state_dir / "store").rglob("*") if path.is_file()]


def pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), 50_000):
        yield content[start : start + 50_000]


def test_a_file_goes_up_and_comes_down(farm: LiveFarm) -> None:
    with farm.client() as http:
        assert http.head(f"/blobs/{SHA256}").status_code == 404
        problem(http.get(f"/blobs/{SHA256}"), 404, "not-found")
        response = http.put(f"/blobs/{SHA256}", params={"name": "model.pt2"}, content=pieces(CONTENT))
        assert Blob.model_validate(response.json()) == Blob(name="model.pt2", sha256=SHA256, size_bytes=len(CONTENT))
        again = http.put(f"/blobs/{SHA256}", params={"name": "again.pt2"}, content=CONTENT)
        assert again.status_code == 201
    with farm.client(Role.AGENT) as http:
        head = http.head(f"/blobs/{SHA256}")
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(CONTENT)))
        assert http.get(f"/blobs/{SHA256}").content == CONTENT
        part = http.get(f"/blobs/{SHA256}", headers={"Range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, CONTENT[100:200])
    assert [path.name for path in stored(farm)] == [SHA256]


def test_a_file_with_another_hash_is_refused(farm: LiveFarm) -> None:
    with farm.client() as http:
        response = http.put(f"/blobs/{'0' * 64}", params={"name": "m"}, content=CONTENT)
        assert "as announced" in problem(response, 422, "bad-request").detail
    assert stored(farm) == []


def test_a_file_over_the_limit_is_refused_whether_announced_or_not(farm: LiveFarm) -> None:
    large = CONTENT * 10
    sha256 = hashlib.sha256(large).hexdigest()
    with farm.client() as http:
        for content in (large, pieces(large)):
            response = http.put(f"/blobs/{sha256}", params={"name": "m.pt2"}, content=content)
            refused = problem(response, 413, "too-large")
            assert "m.pt2 is larger than the 5,000,000 bytes" in refused.detail
    assert stored(farm) == []


def test_an_agent_may_send_no_more_than_outputs_may_have(tmp_path: Path) -> None:
    with serve(Settings(state_dir=tmp_path, max_evaluation_bytes=1_000_000)) as farm:
        with farm.client(Role.AGENT) as http:
            refused = problem(http.put(f"/blobs/{SHA256}", params={"name": "e.npz"}, content=CONTENT), 413, "too-large")
            assert "max_evaluation_bytes" in refused.remedy
            small = hashlib.sha256(CONTENT[:1000]).hexdigest()
            assert http.put(f"/blobs/{small}", params={"name": "e"}, content=CONTENT[:1000]).status_code == 201
        with farm.client() as http:
            assert http.put(f"/blobs/{SHA256}", params={"name": "m"}, content=CONTENT).status_code == 201


def test_an_upload_that_is_cut_leaves_nothing(farm: LiveFarm) -> None:
    host, port = farm.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(
            f"PUT /api/v1/blobs/{SHA256}?name=m HTTP/1.1\r\nHost: farm\r\nContent-Length: {len(CONTENT)}\r\n"
            f"Authorization: Bearer {farm.tokens[Role.USER]}\r\n\r\n".encode()
            + CONTENT[:2_000_000]
        )
        deadline = time.monotonic() + 10
        while not stored(farm) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stored(farm)
    while stored(farm) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stored(farm) == []
    with farm.client() as http:
        assert http.put(f"/blobs/{SHA256}", params={"name": "m"}, content=CONTENT).status_code == 201


def test_an_upload_without_the_right_is_refused_before_it_is_stored(farm: LiveFarm) -> None:
    with farm.client(Role.VIEWER) as http:
        problem(http.put(f"/blobs/{SHA256}", params={"name": "m"}, content=b"x" * 100), 403, "forbidden")
    assert stored(farm) == []


def test_other_requests_are_served_during_an_upload(farm: LiveFarm) -> None:
    def slow() -> Iterator[bytes]:
        with farm.client() as other:
            for piece in pieces(CONTENT):
                yield piece
                assert other.get("/runs").status_code == 200

    with farm.client() as http:
        assert http.put(f"/blobs/{SHA256}", params={"name": "m"}, content=slow()).status_code == 201


def test_a_store_folder_that_vanished_is_said(farm: LiveFarm) -> None:
    store = farm.settings.state_dir / "store"
    store.rmdir()
    store.write_text("a file")
    with farm.client() as http:
        response = http.put(f"/blobs/{SHA256}", params={"name": "m"}, content=b"x")
        assert "m was not stored" in problem(response, 503, "infrastructure").detail


def test_several_clients_upload_the_same_file_at_once(farm: LiveFarm) -> None:
    import asyncio

    async def upload() -> list[int]:
        async with httpx.AsyncClient(
            base_url=farm.url, headers={"Authorization": f"Bearer {farm.tokens[Role.USER]}"}, timeout=30
        ) as http:
            sent = [http.put(f"/api/v1/blobs/{SHA256}", params={"name": "m"}, content=CONTENT) for _ in range(6)]
            return [response.status_code for response in await asyncio.gather(*sent)]

    assert asyncio.run(upload()) == [201] * 6
    assert [path.name for path in stored(farm)] == [SHA256]
