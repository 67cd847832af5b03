"""Where the models of sweeps come from: one module per kind of source.

What a source gives goes through the checks of every upload. Nothing of it is loaded or unpickled here; what has to run,
an export command, is confined as builds are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from farm.config import Settings
from farm.recipes import scratch
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.sweeps.sources import file, git, mlflow, uploaded
from farm.sweeps.sources.intake import Found, take
from farm.types import FileModel, GitModel, MlflowModel, Model, ModelSource, UploadedModel


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
    keeps its own). It may take as long as an export: never call it where somebody waits. A version that was prepared
    before is not fetched again.

    Raises UserError and its kinds, RecipeError (the export command failed), InfrastructureError (try again).
    """
    if isinstance(source, UploadedModel):
        model = uploaded.find(source, store, version)
        return Prepared(model, model.id)
    scratch.discard_leftovers()
    with scratch.folder() as folder:
        found = _find(source, version, folder, settings)
        key = _key(name, found)
        with store.reading() as reading:
            known = reading.prepared_model(key)
            if known is not None:
                return Prepared(reading.model(known), found.version)
        model = take(found.fetch(), name, store, artifacts, settings, by)
    with store.transaction() as transaction:
        transaction.note_preparation(key, model.id, datetime.now(UTC))
    return Prepared(model, found.version)


def versions_between(source: ModelSource, good: str, bad: str, settings: Settings) -> tuple[str, ...]:
    """The versions after ``good``, up to and with ``bad``, oldest first; empty where the source knows no order.

    Raises as ``prepare``.
    """
    if isinstance(source, GitModel):
        return git.versions_between(source, good, bad, settings)
    if isinstance(source, MlflowModel):
        with scratch.folder() as folder:
            return mlflow.versions_between(source, good, bad, folder, settings)
    return ()


def check(source: ModelSource, settings: Settings) -> None:
    """Whether this farm allows the source and reaches it now. Nothing is fetched, but a server may be asked, which
    takes seconds, or a minute or two where it does not answer. An uploaded model is the store's matter.

    Raises ForbiddenError, NotFoundError, UserError, InfrastructureError.
    """
    if isinstance(source, FileModel):
        file.check(source, settings)
    elif isinstance(source, GitModel):
        git.check(source, settings)
    elif isinstance(source, MlflowModel):
        mlflow.check(source, settings)


def _find(source: FileModel | GitModel | MlflowModel, version: str | None, folder: Path, settings: Settings) -> Found:
    if isinstance(source, FileModel):
        return file.find(source, version, folder, settings)
    if isinstance(source, GitModel):
        return git.find(source, version, folder, settings)
    return mlflow.find(source, version, folder, settings)


def _key(name: str, found: Found) -> str:
    return hashlib.sha256("\0".join((name, found.identity, found.version)).encode()).hexdigest()
