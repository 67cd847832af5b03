"""A model becomes one of the farm's: its files are in the artifact store, and fit each other."""

from __future__ import annotations

from datetime import datetime

from farm.config import Settings
from farm.errors import ModelError
from farm.planning.fusion import check_fusion
from farm.planning.inputs import check_inputs
from farm.planning.operators import check_operators
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.types import Model, ModelSpec


def register(
    spec: ModelSpec, store: Store, artifacts: ArtifactStore, settings: Settings, by: str, at: datetime
) -> Model:
    """Idempotent. Raises ForbiddenError, ModelError."""
    check_operators(spec, settings)
    _check_files(spec, artifacts)
    _check(spec, artifacts)
    with store.transaction() as transaction:
        _check_files(spec, artifacts)  # again: files that nothing refers to are removed in a transaction, too
        return transaction.add_model(spec, by, at)


def _check(spec: ModelSpec, artifacts: ArtifactStore) -> None:
    check_inputs(spec, artifacts)
    check_fusion(spec, artifacts)
    for part in spec.fusion.parts if spec.fusion else ():
        _check(part, artifacts)


def _check_files(spec: ModelSpec, artifacts: ArtifactStore) -> None:
    for blob in spec.blobs:
        if not artifacts.exists(blob.sha256):
            raise ModelError(
                f"{blob.name} ({blob.sha256[:12]}) of model {spec.name} was not uploaded.",
                remedy="Upload it first: PUT /api/v1/blobs/{sha256}.",
                details={"sha256": blob.sha256},
            )
        size = artifacts.size_bytes(blob.sha256)
        if size != blob.size_bytes:
            raise ModelError(
                f"{blob.name} has {size:,} bytes, not {blob.size_bytes:,} as the model says.",
                remedy="Describe the file that was uploaded.",
            )
