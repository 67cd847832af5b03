"""Files from here to the head: into its store where that is a folder this machine sees, else over HTTP.

Under their content hash, so that sending one again does no harm.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from farm.config import Settings
from farm.errors import InfrastructureError
from farm.types import Blob

_TRIES = 5
_PAUSE_SECONDS = 2.0  # doubled with every try
_CHUNK_BYTES = 1 << 20


class Delivery:
    def __init__(self, settings: Settings) -> None:
        self._head_url = settings.url.rstrip("/")
        self._token = settings.token.get_secret_value() if settings.token else None
        self._timeout_seconds = settings.timeout_seconds
        store = urlsplit(settings.resolved_store_url)
        self._store = Path(unquote(store.path)) if store.scheme == "file" else None

    async def send(self, path: Path, blob: Blob, of_head: Blob) -> None:
        """``of_head``: a file that the head keeps, by which its store is told from another folder.

        Raises InfrastructureError after some tries.
        """
        pause_seconds = _PAUSE_SECONDS
        for attempt in range(_TRIES):
            try:
                if self._store is not None and (self._store / of_head.store_path).is_file():
                    await asyncio.to_thread(_copy, path, self._store / blob.store_path)
                else:
                    await self._put(path, blob)
                return
            except (OSError, httpx.HTTPError) as error:
                refused = isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500
                if refused or attempt == _TRIES - 1:
                    raise InfrastructureError(
                        f"{blob.name} ({blob.size_bytes:,} bytes) could not be sent to the head: {_said(error)}.",
                        remedy="Check FARM_URL and FARM_TOKEN of this agent, and the room in the head's store.",
                    ) from error
            await asyncio.sleep(pause_seconds)
            pause_seconds *= 2

    async def _put(self, path: Path, blob: Blob) -> None:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        headers["Content-Length"] = str(blob.size_bytes)
        async with httpx.AsyncClient(timeout=self._timeout_seconds, headers=headers) as client:
            url = f"{self._head_url}/api/v1/blobs/{blob.sha256}"
            response = await client.put(url, params={"name": blob.name}, content=_chunks(path))
            response.raise_for_status()


def _said(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"it answered {error.response.status_code}: {error.response.text[:300]}"
    return f"{type(error).__name__} {error}".strip()


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            yield chunk


def _copy(source: Path, target: Path) -> None:
    """Whole and on the disk, or not at all."""
    if target.is_file():
        os.utime(target)  # somebody is about to refer to it
        return
    partial = target.parents[1] / f"upload-{uuid.uuid4().hex}"
    try:
        with source.open("rb") as file, partial.open("wb") as copy:
            shutil.copyfileobj(file, copy, _CHUNK_BYTES)
            copy.flush()
            os.fsync(copy.fileno())
        target.parent.mkdir(exist_ok=True)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
