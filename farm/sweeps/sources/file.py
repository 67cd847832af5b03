"""A model in files: on the head, or wherever fsspec reads. Its version is the digest of what they hold."""

from __future__ import annotations

from pathlib import Path

from farm.config import Settings
from farm.errors import ConflictError
from farm.sweeps.sources import allowed, apart, transfer
from farm.sweeps.sources.intake import Files, Found, wanted
from farm.types import FileModel


def check(source: FileModel, settings: Settings) -> None:
    """Raises ForbiddenError, NotFoundError, UserError. What an address has is known when it is read."""
    for place, _ in wanted(source.url, source):
        path = allowed.local_path(place)
        if path is not None:
            allowed.check_path(path, settings.sweep_model_dirs)
        else:
            allowed.check_url(place, settings.sweep_model_urls)
            transfer.check_driver(place)


def find(source: FileModel, version: str | None, folder: Path, settings: Settings) -> Found:
    """Only what the files hold now can be fetched; an earlier version only where it was prepared before."""
    identity = source.model_dump_json()
    if version is None:
        files = _fetch(source, folder, settings)
        return Found(files.digest(), identity, lambda: files)

    def same() -> Files:
        files = _fetch(source, folder, settings)
        if files.digest() != version:
            raise ConflictError(
                f"{source.url} has other content now than version {version[:12]}, which was not prepared before.",
                remedy="Keep every version under an address of its own.",
            )
        return files

    return Found(version, identity, same)


def _fetch(source: FileModel, folder: Path, settings: Settings) -> Files:
    check(source, settings)
    items = wanted(source.url, source)
    target = folder / "files"
    target.mkdir()
    apart.call(
        transfer.fetch,
        folder / "transfer",
        f"Reading {source.url}",
        timeout_seconds=settings.sweep_fetch_timeout_seconds,
        memory_bytes=settings.build_memory_bytes,
        items=items,
        target=str(target),
        folders=[str(each) for each in settings.sweep_model_dirs],
        prefixes=list(settings.sweep_model_urls),
        max_bytes=settings.max_upload_bytes,
    )
    return Files.at(target, items[0][1], source.dynamic_batch)
