"""Files by content hash on the agent's disk: taken from the store where it is a folder this machine sees,
else fetched once from the head, checked, kept, and evicted by last use beyond a size limit."""

from __future__ import annotations

import errno
import hashlib
import os
import uuid
from pathlib import Path
from urllib.parse import unquote, urlsplit

import httpx

from farm.config import Settings
from farm.errors import InfrastructureError
from farm.types import Blob


class ArtifactCache:
    def __init__(self, settings: Settings, root: Path) -> None:
        self._root = root
        self._limit_bytes = settings.agent_cache_bytes
        self._head_url = settings.url.rstrip("/")
        self._token = settings.token.get_secret_value() if settings.token else None
        self._timeout_seconds = settings.timeout_seconds
        store = urlsplit(settings.resolved_store_url)
        self._shared_store = Path(unquote(store.path)) if store.scheme == "file" else None

    async def obtain(self, blob: Blob) -> Path:
        """A local file with this content. Raises InfrastructureError."""
        if self._shared_store is not None and (shared := self._shared_store / blob.store_path).is_file():
            return shared
        cached = self._root / blob.store_path
        if cached.is_file():
            os.utime(cached)
            return cached
        await self._fetch(blob, cached)
        self._evict(keep=cached)
        return cached

    async def _fetch(self, blob: Blob, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
        digest = hashlib.sha256()
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            async with (
                httpx.AsyncClient(timeout=self._timeout_seconds, headers=headers) as client,
                client.stream("GET", f"{self._head_url}/api/v1/blobs/{blob.sha256}") as response,
            ):
                response.raise_for_status()
                with partial.open("wb") as file:
                    async for chunk in response.aiter_bytes():
                        digest.update(chunk)
                        file.write(chunk)
            if digest.hexdigest() != blob.sha256:
                raise InfrastructureError(
                    f"{blob.name} arrived damaged from {self._head_url}.",
                    remedy="The job is tried again; check the network and the head's disk if it happens often.",
                )
            partial.replace(target)
        except httpx.HTTPError as error:
            raise InfrastructureError(
                f"{blob.name} could not be fetched from {self._head_url}: {error}",
                remedy="Check FARM_URL and FARM_TOKEN of this agent (`farm doctor`), and that the head is up.",
            ) from error
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise InfrastructureError(
                f"{blob.name} could not be written to the agent's cache: {error}.",
                remedy=f"Free space under {self._root}." if full else f"Check the permissions of {self._root}.",
            ) from error
        finally:
            partial.unlink(missing_ok=True)

    def _evict(self, keep: Path) -> None:
        files = sorted((path for path in self._root.glob("??/*") if path.is_file()), key=lambda p: p.stat().st_mtime)
        excess_bytes = sum(path.stat().st_size for path in files) - self._limit_bytes
        for path in files:
            if excess_bytes <= 0:
                return
            if path != keep:
                excess_bytes -= path.stat().st_size
                path.unlink()
