"""A store, artifacts, a repository, and files of a small model, for what prepares models of sweeps."""

from __future__ import annotations

import io
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from farm.config import Settings
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.sweeps.sources import Prepared, prepare
from farm.types import GitModel, ModelSource


@dataclass(frozen=True)
class Ground:
    store: Store
    artifacts: ArtifactStore
    settings: Settings

    def prepare(self, source: ModelSource, version: str | None = None, **settings: Any) -> Prepared:
        changed = self.settings.model_copy(update=settings)
        return prepare(source, self.store, self.artifacts, changed, "nightly", name="net", version=version)


class Origin:
    """A repository that somebody works in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", *who, *arguments], cwd=self.path, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout.strip()

    def commit(self, **files: str) -> str:
        for name, text in files.items():
            (self.path / name.replace("__", ".")).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "change")
        return self.git("rev-parse", "HEAD")

    def source(self, *command: str, **fields: object) -> GitModel:
        export = command or ("python", "export.py")
        return GitModel(**{"repository": str(self.path), "export": export} | fields)


def npz(rows: int = 1) -> bytes:
    file = io.BytesIO()
    np.savez(file, **{f"{row}.0": np.zeros((1, 3), np.float32) for row in range(rows)})
    return file.getvalue()


def write_model(folder: Path, program: bytes = b"a program") -> None:
    """What is in the program matters to nobody before a build."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.pt2").write_bytes(program)
    (folder / "example_inputs.npz").write_bytes(npz())
    (folder / "parity_inputs.npz").write_bytes(npz(3))
