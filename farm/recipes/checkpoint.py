"""How far a build is that trains: kept beside the artifact store while its child goes on, for the next attempt, and in
the end for other builds that need the same student."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from farm.errors import FarmError
from farm.recipes.program import checkpoint_name
from farm.store.artifacts import ArtifactStore

log = logging.getLogger(__name__)


class Checkpoints:
    """Of the trainings of one build. ``folder``: the child's, which writes its checkpoints there, each whole under the
    same name. ``keys``: of the students, in the order in which they are trained."""

    def __init__(self, folder: Path, store: ArtifactStore, keys: Sequence[str]) -> None:
        self._all = [_Checkpoint(folder / checkpoint_name(place), store, key) for place, key in enumerate(keys)]

    @property
    def exist(self) -> bool:
        return any(checkpoint.exists for checkpoint in self._all)

    def restore(self) -> None:
        """Give the child what earlier builds left. Raises InfrastructureError."""
        for checkpoint in self._all:
            checkpoint.restore()

    def keep(self) -> None:
        """Store what is new. Called often; a store that fails costs progress after a crash, not the build."""
        for checkpoint in self._all:
            checkpoint.keep()


class _Checkpoint:
    def __init__(self, path: Path, store: ArtifactStore, key: str) -> None:
        self._key, self._store, self._path = key, store, path
        self._kept_ns = 0
        self.exists = False

    def restore(self) -> None:
        self.exists = self._store.fetch_checkpoint(self._key, self._path)
        if self.exists:
            self._kept_ns = self._path.stat().st_mtime_ns

    def keep(self) -> None:
        try:
            # The child may put a link there, to a file that it must not read: links are not followed.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return  # there is none yet
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if found.st_mtime_ns == self._kept_ns or not stat.S_ISREG(found.st_mode):
                return
            self._kept_ns = found.st_mtime_ns
            try:
                self._store.put_checkpoint(self._key, file)
            except FarmError as error:
                log.warning("The checkpoint of student %s was not kept: %s", self._key[:12], error)
            else:
                self.exists = True
