"""What a build says, from the first line on: readable in the store while it runs, and kept there afterwards.

Converters can be very talkative: what is kept are the beginning and the end. While the build runs the beginning alone
is shown, so that who read it then can go on where they stopped: what is kept begins with the same bytes.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from farm.errors import FarmError
from farm.recipes.worker import STEP
from farm.store.artifacts import ArtifactStore
from farm.types import Blob

log = logging.getLogger(__name__)

FILE = "build.log"
HEAD_BYTES = TAIL_BYTES = 1 << 20
SHOW_EVERY_SECONDS = 2.0
_TAIL_CHARACTERS = 4000


class BuildLog:
    def __init__(self, folder: Path, store: ArtifactStore, key: str) -> None:
        self.path = folder / FILE
        self._folder, self._store, self._key = folder, store, key
        self._shown_bytes, self._shown_at, self._broken = 0, 0.0, False

    def show(self) -> None:
        """Bring what is new to where it is read from. Called often; a store that fails ends only the showing."""
        if self._broken or time.monotonic() < self._shown_at + SHOW_EVERY_SECONDS:
            return
        self._shown_at = time.monotonic()
        size = min(self.path.stat().st_size, HEAD_BYTES)
        if size == self._shown_bytes:
            return
        try:
            self._store.put_live(self._key, self._read(0, size))
        except FarmError as error:
            self._broken = True
            log.warning("The log of build %s cannot be followed: %s", self._key[:12], error)
        self._shown_bytes = size

    def keep(self) -> Blob:
        """Store it for good. Raises InfrastructureError."""
        size = self.path.stat().st_size
        left_out = size - HEAD_BYTES - TAIL_BYTES
        if left_out <= 0:
            parts = [self._read(0, size)]
        else:
            gap = f"\n[{left_out:,} bytes are left out here]\n".encode()
            parts = [self._read(0, HEAD_BYTES), gap, self._read(size - TAIL_BYTES, TAIL_BYTES)]
        blob = self._store.put(parts, FILE)
        self._store.discard_live(self._key)
        return blob

    def tail(self) -> str:
        """Its end; of a crash in native code rather the beginning of its account."""
        text = self._end()
        crash = text.rfind("Fatal Python error")
        return text[crash : crash + _TAIL_CHARACTERS] if crash >= 0 else text[-_TAIL_CHARACTERS:]

    def last_step(self) -> str:
        """What the child said last that it does; empty where it had not begun."""
        steps = [line for line in self._end().splitlines() if line.startswith(STEP)]
        return steps[-1].removeprefix(STEP) if steps else ""

    def _end(self) -> str:
        size = self.path.stat().st_size
        first = max(0, size - 8 * _TAIL_CHARACTERS)
        return self._read(first, size - first).decode(errors="replace").replace(f"{self._folder}/", "")

    def _read(self, offset: int, count: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset, os.SEEK_SET)
            return file.read(count)
