"""A model that is on the farm already: the newest of its name, or one by id."""

from __future__ import annotations

from farm.store.database import Store
from farm.types import Model, UploadedModel


def find(source: UploadedModel, store: Store, version: str | None = None) -> Model:
    """``version``: the model's id. Raises NotFoundError, UserError."""
    with store.reading() as reading:
        return reading.model(version or source.ref)
