import asyncio
import hashlib
import threading
import time
import uuid

import pytest

from farm.connection import Connection
from farm.errors import InfrastructureError, TooLargeError
from farm.store.artifacts import ArtifactStore
from farm.types import Blob
from tests.integration.client.head import Head, Wire

MANY_BYTES = 20_000_000


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(uuid.uuid4().bytes * (MANY_BYTES // 16))
    return path


def blob_of(path):
    content = path.read_bytes()
    return Blob(name=path.name, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def upload(url, token, path):
    async def work():
        connection = Connection(url, token, 10)
        try:
            return await connection.upload(blob_of(path), path)
        finally:
            await connection.aclose()

    return asyncio.run(work())


def stored(head, path):
    return ArtifactStore(head.settings.resolved_store_url).exists(blob_of(path).sha256)


def test_a_file_is_sent_once(head, file):
    token = head.token()
    assert upload(head.url, token, file) is True
    assert stored(head, file)
    assert upload(head.url, token, file) is False


def test_an_upload_survives_lost_connections(head, file):
    wire = Wire(head.settings.port, cuts=[1_000_000, MANY_BYTES // 2])
    try:
        assert upload(wire.url, head.token(), file) is True
    finally:
        wire.close()
    assert wire.broken == 2
    assert stored(head, file)


def test_an_upload_survives_a_restart_of_the_head(head, file):
    token = head.token()
    wire = Wire(head.settings.port, cuts=[5_000_000])
    restarted = threading.Thread(target=lambda: (_until(lambda: wire.broken), head.kill(), head.start()))
    restarted.start()
    try:
        assert upload(wire.url, token, file) is True
    finally:
        wire.close()
        restarted.join(30)
    assert stored(head, file)


def test_an_upload_gives_up_when_the_connection_breaks_every_time(head, file, monkeypatch):
    monkeypatch.setattr("farm.connection.FIRST_PAUSE_SECONDS", 0.01)
    wire = Wire(head.settings.port, cuts=[1_000_000] * 20)
    try:
        with pytest.raises(InfrastructureError) as caught:
            upload(wire.url, head.token(), file)
    finally:
        wire.close()
    assert "was lost" in caught.value.message
    assert not stored(head, file)


def test_an_oversize_upload_is_refused_with_the_limit(tmp_path, file):
    head = Head(tmp_path, max_upload_bytes=1_000_000)
    head.start()
    try:
        with pytest.raises(TooLargeError) as caught:
            upload(head.url, head.token(), file)
    finally:
        head.close()
    assert "1,000,000" in caught.value.message


def _until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
