"""Where the models of sweeps come from: one module per kind of source."""

from __future__ import annotations

from dataclasses import dataclass

from farm.config import Settings
from farm.errors import UserError
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.sweeps.sources import uploaded
from farm.types import Model, ModelSource, UploadedModel


@dataclass(frozen=True)
class Prepared:
    """``version``: of the model at its source: an id, a digest of the files, a commit, a registry's version."""

    model: Model
    version: str


def prepare(
    source: ModelSource,
    store: Store,
    artifacts: ArtifactStore,
    settings: Settings,
    by: str,
    *,
    name: str,
    version: str | None = None,
) -> Prepared:
    """The model that ``source`` has now, or had as ``version``, as a model of the farm called ``name`` (an uploaded one
    keeps its own). It may take as long as an export: never call it where somebody waits.

    Raises UserError and its kinds, RecipeError (the export command failed), InfrastructureError (try again).
    """
    if isinstance(source, UploadedModel):
        model = uploaded.find(source, store, version)
        return Prepared(model, model.id)
    raise UserError(f"Sources of kind {source.kind} are not supported yet.", remedy="Upload the model.")


def versions_between(source: ModelSource, good: str, bad: str, settings: Settings) -> tuple[str, ...]:
    """The versions after ``good``, up to and with ``bad``, oldest first; empty where the source knows no order."""
    return ()


def check(source: ModelSource, settings: Settings) -> None:
    """Whether this farm allows the source and reaches it now; seconds at most, nothing is fetched. An uploaded model is
    the store's matter. Raises ForbiddenError, UserError, InfrastructureError."""
