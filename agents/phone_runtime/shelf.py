"""Keeping house in the folder of bundles: what is there, what can go."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from agents.phone_runtime import lock
from agents.phone_runtime.build import locked, sweep
from agents.phone_runtime.bundle import ABIS, Bundle, archive_path, manifests
from farm.errors import InfrastructureError

KEPT_BUNDLES = 2  # of each ABI: the one in use, and the one before it
IN_USE_SECONDS = 86_400.0  # a layer that no bundle has may still be on its way to a phone; the harness's always is


def bundles(folder: Path) -> list[Bundle]:
    """All that can be read, the newest first; incomplete ones too."""
    found = []
    for manifest in manifests(folder):
        try:
            found.append(Bundle.read(folder, manifest))
        except InfrastructureError:
            continue  # of another version of the farm: `prune` removes it
    return found


def remove(folder: Path, digest_start: str) -> list[Bundle]:
    """The bundles whose digest begins so. Their layers go with the next ``prune``, as long as nothing uses them."""
    with locked(folder):
        gone = [bundle for bundle in bundles(folder) if bundle.digest.startswith(digest_start)]
        _unlink(_manifest(folder, bundle) for bundle in gone)
    return gone


def prune(folder: Path, *, idle_seconds: float = IN_USE_SECONDS) -> int:
    """Keep the newest bundles of each ABI with their layers, and the files that the committed locks name. What was
    used within ``idle_seconds`` stays, too. Returns the bytes that were freed."""
    with locked(folder):
        sweep(folder)
        count: Counter[str] = Counter()
        kept = []
        for bundle in bundles(folder):
            count[bundle.abi] += 1
            if count[bundle.abi] <= KEPT_BUNDLES:
                kept.append(bundle)
        layers = {layer.sha256 for bundle in kept for layer in bundle.layers}
        keep = {_manifest(folder, bundle) for bundle in kept}
        keep |= {archive_path(folder, sha256) for sha256 in layers}
        keep |= {folder / "downloads" / sha256 for sha256 in _locked_files()}
        found = [*manifests(folder), *(folder / "layers").glob("*.tar.gz"), *(folder / "downloads").glob("*")]
        old = time.time() - idle_seconds
        return _unlink(path for path in found if path not in keep and path.stat().st_mtime < old)


def _locked_files() -> set[str]:
    locks = [lock.Lock.read(lock.path_of(abi)) for abi in ABIS]
    debs = {deb.sha256 for each in locks for deb in each.debs.values()}
    return debs | {wheel.sha256 for each in locks for wheel in each.wheels.values()}


def _manifest(folder: Path, bundle: Bundle) -> Path:
    return folder / "bundles" / f"{bundle.digest}.json"


def _unlink(paths: Iterable[Path]) -> int:
    freed_bytes = 0
    for path in paths:
        freed_bytes += path.stat().st_size
        path.unlink()
    return freed_bytes
