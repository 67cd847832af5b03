"""The artifact store on a real folder, and on fsspec's memory file system as a stand-in for object stores."""

import asyncio
import hashlib
import io
import os
import shutil
import subprocess
import sys
import textwrap
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from farm.errors import ConfigError, InfrastructureError, NotFoundError, TooLargeError, UserError
from farm.store.artifacts import CHUNK_BYTES, ArtifactStore
from farm.types import Blob

CONTENT = b"weights" * 400_000  # several chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(params=["file", "memory"])
def store(request, tmp_path) -> ArtifactStore:
    return ArtifactStore(f"file://{tmp_path}/store" if request.param == "file" else f"memory://{uuid.uuid4().hex}")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


async def chunked(content: bytes, size: int = 70_000):
    for start in range(0, len(content), size):
        yield content[start : start + size]


def test_what_is_put_comes_back(store: ArtifactStore, tmp_path: Path) -> None:
    blob = store.put([CONTENT[:10], CONTENT[10:]], "model.pt2")
    assert blob == Blob(name="model.pt2", sha256=SHA256, size_bytes=len(CONTENT))
    assert store.exists(SHA256)
    assert store.size_bytes(SHA256) == len(CONTENT)
    with store.open(SHA256) as file:
        assert file.read() == CONTENT
    store.fetch(blob, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == CONTENT


def test_putting_twice_is_putting_once(store: ArtifactStore) -> None:
    assert store.put([CONTENT], "a").sha256 == store.put([CONTENT], "b").sha256


def test_put_file_keeps_its_name(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(CONTENT)
    assert store.put_file(tmp_path / "m.onnx").name == "m.onnx"
    assert store.put_file(tmp_path / "m.onnx", "model.onnx") == Blob(
        name="model.onnx", sha256=SHA256, size_bytes=len(CONTENT)
    )


def test_an_upload_is_stored_in_pieces_of_any_size(store: ArtifactStore) -> None:
    for size in (1000, CHUNK_BYTES, 3 * CHUNK_BYTES):
        blob = asyncio.run(store.put_stream(chunked(CONTENT, size), "m", expect_sha256=SHA256, max_bytes=len(CONTENT)))
        assert blob.size_bytes == len(CONTENT)


def test_an_empty_file_is_a_file(store: ArtifactStore) -> None:
    empty = hashlib.sha256(b"").hexdigest()
    assert asyncio.run(store.put_stream(chunked(b""), "m", expect_sha256=empty, max_bytes=1)).size_bytes == 0
    assert store.exists(empty)


def test_the_same_store_is_known_by_its_id_and_another_one_is_not(store: ArtifactStore, tmp_path: Path) -> None:
    there = (tmp_path / "other").as_uri()
    assert ArtifactStore.id_at(there) is None and not (tmp_path / "other").exists()
    assert store.id() == store.id() != ArtifactStore(there).id() == ArtifactStore.id_at(there)
    assert ArtifactStore.id_at("nosuch://farm") is None


class TestNothingStaysBehind:
    @pytest.fixture
    def store(self, tmp_path) -> ArtifactStore:
        return ArtifactStore(f"file://{tmp_path}/store")

    def test_of_a_damaged_transfer(self, store: ArtifactStore, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="as announced"):
            store.put([b"other"], "m", expect_sha256=SHA256)
        assert files(tmp_path) == []

    def test_of_a_file_over_the_limit(self, store: ArtifactStore, tmp_path: Path) -> None:
        with pytest.raises(TooLargeError, match="1,000,000 bytes"):
            asyncio.run(store.put_stream(chunked(CONTENT), "m", expect_sha256=SHA256, max_bytes=1_000_000))
        assert files(tmp_path) == []

    def test_of_a_sender_that_breaks_off(self, store: ArtifactStore, tmp_path: Path) -> None:
        async def cut():
            yield CONTENT[:1000]
            raise ConnectionResetError("gone")

        with pytest.raises(ConnectionResetError):
            asyncio.run(store.put_stream(cut(), "m", expect_sha256=SHA256, max_bytes=10**9))
        assert files(tmp_path) == []

    def test_of_a_cancelled_upload(self, store: ArtifactStore, tmp_path: Path) -> None:
        async def endless():
            while True:
                yield CONTENT
                await asyncio.sleep(0.01)

        async def cancel_soon() -> None:
            upload = asyncio.create_task(store.put_stream(endless(), "m", expect_sha256=SHA256, max_bytes=10**12))
            await asyncio.sleep(0.2)
            upload.cancel()
            with pytest.raises(asyncio.CancelledError):
                await upload

        asyncio.run(cancel_soon())
        assert files(tmp_path) == []

    def test_of_a_failed_copy(self, store: ArtifactStore, tmp_path: Path) -> None:
        blob = store.put([CONTENT], "m")
        stored = store.local_path(SHA256)
        assert stored is not None
        stored.write_bytes(CONTENT[:-1] + b"!")
        with pytest.raises(InfrastructureError, match="damaged"):
            store.fetch(blob, tmp_path / "copy")
        assert not (tmp_path / "copy").exists()

    def test_of_uploads_that_a_crash_cut(self, store: ArtifactStore, tmp_path: Path) -> None:
        store.put([CONTENT], "m")
        for name, age_seconds in (("upload-old", 7200), ("upload-young", 10)):
            path = tmp_path / "store" / name
            path.write_bytes(b"half")
            os.utime(path, (time.time() - age_seconds,) * 2)
        assert store.discard_leftovers(min_age_seconds=3600) == 1
        assert files(tmp_path) == sorted([SHA256, "upload-young"])


class TestCheckpoints:
    def test_the_last_one_counts(self, store: ArtifactStore, tmp_path: Path) -> None:
        assert not store.fetch_checkpoint("k", tmp_path / "got")
        store.put_checkpoint("k", io.BytesIO(CONTENT))
        store.put_checkpoint("k", io.BytesIO(b"newer"))
        assert store.fetch_checkpoint("k", tmp_path / "got")
        assert (tmp_path / "got").read_bytes() == b"newer"

    def test_they_age_from_their_last_use_on(self, tmp_path: Path) -> None:
        store = ArtifactStore(tmp_path.as_uri())
        unused, used, young = paths = [tmp_path / "checkpoints" / key for key in "abc"]
        for path, age_seconds in zip(paths, (7200, 7200, 10), strict=True):
            store.put_checkpoint(path.name, io.BytesIO(CONTENT))
            os.utime(path, (time.time() - age_seconds,) * 2)
        assert store.fetch_checkpoint("b", tmp_path / "got")
        assert store.discard_checkpoints(min_age_seconds=3600) == 1
        assert [path.exists() for path in (unused, used, young)] == [False, True, True]

    def test_builds_that_write_at_once_leave_one_whole(self, tmp_path: Path) -> None:
        store = ArtifactStore(tmp_path.as_uri())
        contents = [bytes([number]) * 3_000_000 for number in range(4)]

        def write(content: bytes) -> None:
            for _ in range(5):
                store.put_checkpoint("k", io.BytesIO(content))
                assert store.fetch_checkpoint("k", tmp_path / f"got-{content[0]}")
                assert (tmp_path / f"got-{content[0]}").read_bytes() in contents

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, contents))


def test_a_missing_file_is_not_found(store: ArtifactStore, tmp_path: Path) -> None:
    gone = Blob(name="m", sha256="0" * 64, size_bytes=1)
    assert not store.exists(gone.sha256)
    assert store.local_path(gone.sha256) is None
    for attempt in (
        lambda: store.open(gone.sha256),
        lambda: store.size_bytes(gone.sha256),
        lambda: store.fetch(gone, tmp_path / "copy"),
    ):
        with pytest.raises(NotFoundError):
            attempt()
    assert not (tmp_path / "copy").exists()


def test_local_path_is_the_file_itself(tmp_path: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}/store")
    store.put([CONTENT], "m")
    path = store.local_path(SHA256)
    assert path is not None
    assert path.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InfrastructureError, match="cannot be made"):
        ArtifactStore(f"file://{tmp_path}/taken/store")


def test_a_url_of_an_unknown_kind() -> None:
    with pytest.raises(ConfigError, match="store_url"):
        ArtifactStore("carrier-pigeon://roof/farm")


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """On a real file system of 1 MiB, mounted in a namespace of its own."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare")
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from farm.errors import InfrastructureError
        from farm.store.artifacts import ArtifactStore
        store = ArtifactStore(f"file://{sys.argv[1]}/store")
        small = store.put([b"x" * 1000], "small")
        try:
            store.put([b"y" * 100_000] * 20, "large")
        except InfrastructureError as error:
            assert "disk is full" in error.message, error
        else:
            raise SystemExit("no error")
        left = [p.name for p in Path(sys.argv[1]).rglob("*") if p.is_file()]
        assert left == [small.sha256], left
        print("said so")
        """
    )
    mount = 'mount -t tmpfs -o size=1m none "$1" || exit 77; exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert done.stdout == "said so\n", done.stderr
