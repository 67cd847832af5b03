"""Content-addressed files on any fsspec file system: ``<root>/ab/abcdef...``, named by SHA-256.

A file appears under its name only when it is whole and its hash was checked, so a crash or a full disk
never leaves a file that lies about its content.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import fsspec
from fsspec.implementations.local import LocalFileSystem

from farm.errors import ConfigError, InfrastructureError, NotFoundError, TooLargeError, UserError
from farm.types import Blob

CHUNK_BYTES = 1 << 20
_UPLOAD_PREFIX = "upload-"
_ID_FILE = "store-id"
_CHECKPOINTS = "checkpoints"
_LIVE_FOLDER = "live"


class ArtifactStore:
    """``url``: any fsspec URL, e.g. ``file:///srv/farm/store`` or ``s3://bucket/farm``.

    Every method raises InfrastructureError where the file system fails: full, not writable, damaged.
    """

    def __init__(self, url: str) -> None:
        self._id = ""
        try:
            self._fs, self._root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise ConfigError(
                f"store_url {url!r} cannot be used: {error}.",
                remedy="Give a folder as file:///PATH, or install the fsspec driver of that protocol.",
            ) from error
        with _storage_errors("The artifact store cannot be made"):
            self._fs.makedirs(self._root, exist_ok=True)

    def id(self) -> str:
        """A random name of this very store, made when it is first asked for."""
        if self._id:
            return self._id
        path = f"{self._root}/{_ID_FILE}"
        with _storage_errors("The artifact store's id cannot be kept"):
            if not self._fs.exists(path):
                temporary = f"{self._root}/{_UPLOAD_PREFIX}{uuid.uuid4().hex}"
                self._fs.pipe_file(temporary, uuid.uuid4().hex.encode())
                self._fs.mv(temporary, path)
            self._id = str(self._fs.cat_file(path).decode())
        return self._id

    @staticmethod
    def id_at(url: str) -> str | None:
        """The id of the store at ``url`` as this machine sees it; None where it sees none, or has no driver for it."""
        try:
            fs, root = fsspec.core.url_to_fs(url)
            return str(fs.cat_file(f"{root}/{_ID_FILE}").decode())
        except (OSError, ValueError, ImportError):
            return None

    def _path(self, sha256: str) -> str:
        return f"{self._root}/{sha256[:2]}/{sha256}"

    def exists(self, sha256: str) -> bool:
        return bool(self._fs.exists(self._path(sha256)))

    def size_bytes(self, sha256: str) -> int:
        """Raises NotFoundError."""
        try:
            return int(self._fs.size(self._path(sha256)))
        except FileNotFoundError:
            raise _missing(sha256) from None

    def local_path(self, sha256: str) -> Path | None:
        """The file itself where the store is a local folder, else None."""
        if not isinstance(self._fs, LocalFileSystem):
            return None
        path = Path(self._path(sha256))
        return path if path.is_file() else None

    def open(self, sha256: str) -> BinaryIO:
        """Raises NotFoundError."""
        with _storage_errors(f"The stored file {sha256[:12]} cannot be read"):
            try:
                return self._fs.open(self._path(sha256), "rb")  # type: ignore[no-any-return]
            except FileNotFoundError:
                raise _missing(sha256) from None

    def put_file(self, path: Path, name: str | None = None) -> Blob:
        with path.open("rb") as file:
            return self.put(iter(lambda: file.read(CHUNK_BYTES), b""), name or path.name)

    def put(self, chunks: Iterable[bytes], name: str, *, expect_sha256: str | None = None) -> Blob:
        """Store chunks under their hash. Raises UserError if it is not the expected one."""
        with _Upload(self, name, expect_sha256, None) as upload:
            for chunk in chunks:
                upload.write(chunk)
            return upload.publish()

    async def put_stream(self, chunks: AsyncIterable[bytes], name: str, *, expect_sha256: str, max_bytes: int) -> Blob:
        """As ``put``, for an upload. Raises TooLargeError past ``max_bytes``; nothing of it stays behind."""
        with _Upload(self, name, expect_sha256, max_bytes) as upload:
            # A thread hashes and writes in large pieces: the event loop stays free for the other requests.
            pending = bytearray()
            async for chunk in chunks:
                pending += chunk
                if len(pending) >= CHUNK_BYTES:
                    await asyncio.to_thread(upload.write, bytes(pending))
                    pending.clear()
            await asyncio.to_thread(upload.write, bytes(pending))
            return await asyncio.to_thread(upload.publish)

    def fetch(self, blob: Blob, destination: Path) -> None:
        """Copy a blob out and check its hash; nothing stays at ``destination`` on error. Raises NotFoundError."""
        digest = hashlib.sha256()
        with contextlib.ExitStack() as undo, _storage_errors(f"{blob.name} cannot be copied to {destination}"):
            with self.open(blob.sha256) as source, destination.open("wb") as target:
                undo.callback(destination.unlink)
                while chunk := source.read(CHUNK_BYTES):
                    digest.update(chunk)
                    target.write(chunk)
            if digest.hexdigest() != blob.sha256:
                raise InfrastructureError(
                    f"The stored file {blob.name} ({blob.sha256[:12]}) is damaged.",
                    remedy="Check the disk of the artifact store, delete the file, then upload or build it again.",
                )
            undo.pop_all()

    def discard(self, sha256: str, *, min_age_seconds: float) -> bool:
        """Remove a file unless it was stored less than so long ago; whether it is gone."""
        path = self._path(sha256)
        with _storage_errors(f"The stored file {sha256[:12]} cannot be removed"):
            try:
                if (datetime.now(UTC) - self._fs.modified(path)).total_seconds() < min_age_seconds:
                    return False
                self._fs.rm(path)
            except FileNotFoundError:
                pass
        return True

    # --- how far trainings are: by the student's key, replaced as they go on; builds may share a student ----

    def put_checkpoint(self, key: str, file: BinaryIO) -> None:
        temporary = f"{self._root}/{_UPLOAD_PREFIX}{uuid.uuid4().hex}"
        with _storage_errors("The checkpoint of a training was not stored"):
            self._fs.makedirs(f"{self._root}/{_CHECKPOINTS}", exist_ok=True)
            with self._fs.open(temporary, "wb") as target:
                shutil.copyfileobj(file, target, CHUNK_BYTES)
                if isinstance(self._fs, LocalFileSystem):
                    target.flush()
                    os.fsync(target.fileno())
            self._fs.mv(temporary, self._checkpoint_path(key))

    def fetch_checkpoint(self, key: str, destination: Path) -> bool:
        """Whether there is one. It is kept for longer, since it was used."""
        path = self._checkpoint_path(key)
        with _storage_errors("The checkpoint of a training cannot be read"):
            try:
                self._fs.get_file(path, str(destination))
                if isinstance(self._fs, LocalFileSystem):
                    os.utime(path)
            except FileNotFoundError:
                return False
        return True

    def _checkpoint_path(self, key: str) -> str:
        return f"{self._root}/{_CHECKPOINTS}/{key}"

    # --- logs of builds that run: by the build's key, replaced as they grow ----------------------------

    def put_live(self, key: str, content: bytes) -> None:
        path, temporary = self._live_path(key), f"{self._root}/{_UPLOAD_PREFIX}{uuid.uuid4().hex}"
        with _storage_errors("The log of a build that runs cannot be written"):
            self._fs.makedirs(f"{self._root}/{_LIVE_FOLDER}", exist_ok=True)
            self._fs.pipe_file(temporary, content)
            self._fs.mv(temporary, path)

    def live(self, key: str) -> bytes:
        """Empty where nothing was written yet, or no more is."""
        with _storage_errors("The log of a build that runs cannot be read"):
            try:
                content: bytes = self._fs.cat_file(self._live_path(key))
            except FileNotFoundError:
                return b""
            return content

    def discard_live(self, key: str) -> None:
        with (
            _storage_errors("The log of a build that has ended cannot be removed"),
            contextlib.suppress(FileNotFoundError),
        ):
            self._fs.rm(self._live_path(key))

    def _live_path(self, key: str) -> str:
        return f"{self._root}/{_LIVE_FOLDER}/{key}"

    # --- what is too old: only in a local folder; object stores have lifecycle rules for this ----------

    def discard_leftovers(self, *, min_age_seconds: float) -> int:
        """Remove what uploads and builds that a crash cut short left behind, if it is that old. Returns how many."""
        return self._discard_old(f"{_UPLOAD_PREFIX}*", min_age_seconds) + self._discard_old(
            f"{_LIVE_FOLDER}/*", min_age_seconds
        )

    def discard_checkpoints(self, *, min_age_seconds: float) -> int:
        """Remove those that were neither written nor used for so long. Returns how many."""
        return self._discard_old(f"{_CHECKPOINTS}/*", min_age_seconds)

    def _discard_old(self, pattern: str, min_age_seconds: float) -> int:
        if not isinstance(self._fs, LocalFileSystem):
            return 0
        newest, count = time.time() - min_age_seconds, 0
        for path in Path(self._root).glob(pattern):
            with contextlib.suppress(FileNotFoundError):  # an upload that has just become whole
                if path.stat().st_mtime <= newest:
                    path.unlink()
                    count += 1
        return count


class _Upload:
    """A file on its way into the store. Leaving the block without ``publish`` removes it."""

    def __init__(self, store: ArtifactStore, name: str, expect_sha256: str | None, max_bytes: int | None) -> None:
        self._fs, self._root, self._store = store._fs, store._root, store
        self._name, self._expect, self._max_bytes = name, expect_sha256, max_bytes
        self._digest, self._size = hashlib.sha256(), 0
        self._temporary = f"{self._root}/{_UPLOAD_PREFIX}{uuid.uuid4().hex}"

    def _errors(self) -> contextlib.AbstractContextManager[None]:
        return _storage_errors(f"{self._name} was not stored")

    def __enter__(self) -> _Upload:
        with self._errors():
            self._file = self._fs.open(self._temporary, "wb")
        return self

    def write(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._max_bytes is not None and self._size > self._max_bytes:
            raise TooLargeError(
                f"{self._name} is larger than the {self._max_bytes:,} bytes this farm accepts.",
                remedy="Make it smaller, or have the operator raise max_upload_bytes.",
            )
        self._digest.update(chunk)
        with self._errors():
            self._file.write(chunk)

    def publish(self) -> Blob:
        sha256 = self._digest.hexdigest()
        if self._expect not in (None, sha256):
            raise UserError(
                f"{self._name} arrived with hash {sha256[:12]}, not {str(self._expect)[:12]} as announced.",
                remedy="The transfer was damaged or cut: send it again.",
            )
        target = self._store._path(sha256)
        folder = target.rsplit("/", 1)[0]
        local = isinstance(self._fs, LocalFileSystem)
        with self._errors():
            self._file.flush()
            if local:
                os.fsync(self._file.fileno())
            self._file.close()
            self._fs.makedirs(folder, exist_ok=True)
            self._fs.mv(self._temporary, target)
            if local:
                _sync_folder(folder)
                _sync_folder(self._root)
        return Blob(name=self._name, sha256=sha256, size_bytes=self._size)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        # A full disk shows once more on close; the first error is the one that counts.
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            if self._fs.exists(self._temporary):
                self._fs.rm(self._temporary)


def _sync_folder(folder: str) -> None:
    """Until then a power cut may take the new name back, while the database already refers to it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _storage_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InfrastructureError(
                f"{what}: the disk is full.",
                remedy="Free space there (`farm doctor` shows it), then try again. Nothing was lost.",
            ) from error
        raise InfrastructureError(
            f"{what}: {error}.", remedy="Check that the disk is there, sound, and writable for the user of the head."
        ) from error


def _missing(sha256: str) -> NotFoundError:
    return NotFoundError(f"No file {sha256[:12]} in the artifact store.", remedy="Upload or build it again.")
