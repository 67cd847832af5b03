"""How far a build is that trains: kept beside the artifact store while its child goes on, for the next attempt."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from farm.errors import FarmError
from farm.recipes.program import CHECKPOINT
from farm.store.artifacts import ArtifactStore

log = logging.getLogger(__name__)


class Checkpoint:
    """``folder``: the child's, which writes its checkpoints there, each whole under the same name."""

    def __init__(self, folder: Path, store: ArtifactStore, key: str) -> None:
        self._key, self._store, self._path = key, store, folder / CHECKPOINT
        self._kept_ns = 0
        self.exists = False

    def restore(self) -> None:
        """Give the child what the last attempt left. Raises InfrastructureError."""
        self.exists = self._store.fetch_checkpoint(self._key, self._path)
        if self.exists:
            self._kept_ns = self._path.stat().st_mtime_ns

    def keep(self) -> None:
        """Store what is new. Called often; a store that fails costs progress after a crash, not the build."""
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
                log.warning("The checkpoint of build %s was not kept: %s", self._key[:12], error)
            else:
                self.exists = True

    def discard(self) -> None:
        """After the build has succeeded. Raises InfrastructureError."""
        if self.exists:
            self._store.discard_checkpoint(self._key)
