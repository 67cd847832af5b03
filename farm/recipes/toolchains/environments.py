"""The environments of toolchains in a folder of this machine.

``NAME-KEY/`` is an environment; it counts once its file ``complete`` is there, which is written last. ``NAME`` is a
link to the one made last, for programs that know nothing of keys (the harness's driver). A lock per toolchain, which
the kernel gives back when its holder dies, sees to it that one is made once; what a killed making left is made anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from farm.errors import ConflictError, InfrastructureError
from farm.recipes.toolchains import Toolchain

COMPLETE = "complete"  # JSON: when, seconds, bytes
USED = "used"  # its time: of the last use
MAKE_TIMEOUT_SECONDS = 1_800.0
IN_USE_SECONDS = 3_600.0  # so long after its use an environment is not removed to make room
_LOG_CHARACTERS = 1_500


@dataclass(frozen=True)
class Made:
    """An environment that is complete."""

    toolchain: str
    path: Path
    size_bytes: int
    seconds: float
    used_at: datetime

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"


class Environments:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, toolchain: Toolchain) -> Path:
        return self.folder / f"{toolchain.name}-{toolchain.key}"

    def find(self, toolchain: Toolchain) -> Made | None:
        return _made(self.path(toolchain))

    def all(self) -> list[Made]:
        """Also of declarations that are no more."""
        return sorted(filter(None, map(_made, self._candidates())), key=lambda made: made.path.name)

    def use(self, toolchain: Toolchain) -> Made:
        """One that is made, marked as used now. Raises InfrastructureError where it is not made."""
        made = self.use_made(toolchain)
        (made.path / USED).touch()
        return made

    def use_made(self, toolchain: Toolchain) -> Made:
        """As ``use``, from a process that may not write there."""
        if (made := self.find(toolchain)) is None:
            raise InfrastructureError(
                f"The toolchain {toolchain.name} is not made on this machine.",
                remedy=f"Run `farm toolchains make {toolchain.name}` there.",
            )
        return made

    def make(self, toolchain: Toolchain, *, limit_bytes: int) -> Made:
        """Install it unless it is there; whoever comes meanwhile waits for it. Then remove the environments that were
        not used for the longest time, until all fit into ``limit_bytes``.

        Raises InfrastructureError: no network, a version that is gone, a full disk; nothing half made is left behind.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock(toolchain.name):
            made = self.find(toolchain) or self._install(toolchain)
            self._point(toolchain)
        self._make_room(limit_bytes, keep=made.path)
        return made

    def remove(self, name: str) -> int:
        """All environments of that toolchain; how many. Raises ConflictError while it is being made."""
        with self._lock(name, wait=False):
            found = [path for path in self._candidates() if _name(path) == name]
            for path in found:
                _discard(path)
            (self.folder / name).unlink(missing_ok=True)
        return len(found)

    def _install(self, toolchain: Toolchain) -> Made:
        path, started = self.path(toolchain), time.monotonic()
        if path.exists():
            shutil.rmtree(path)
        try:
            _run(toolchain, [sys.executable, "-m", "venv", "--without-pip", str(path)])
            install = ["install", "--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-input", "--quiet"]
            pip = [sys.executable, "-m", "pip", "--python", str(path / "bin" / "python")]
            _run(toolchain, [*pip, *install, "--requirement", str(toolchain.requirements)])
            size = sum(file.lstat().st_size for file in path.rglob("*"))
            facts = {"size_bytes": size, "seconds": time.monotonic() - started}
            (path / USED).touch()
            temporary = path / f"{COMPLETE}.new"
            temporary.write_text(json.dumps(facts))
            temporary.rename(path / COMPLETE)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        return Made(toolchain.name, path, size, facts["seconds"], datetime.now(UTC))

    def _point(self, toolchain: Toolchain) -> None:
        temporary = self.folder / f".{toolchain.name}.{os.getpid()}"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(self.path(toolchain).name)
        temporary.rename(self.folder / toolchain.name)

    def _make_room(self, limit_bytes: int, keep: Path) -> None:
        found = sorted(self.all(), key=lambda made: made.used_at)
        total = sum(made.size_bytes for made in found)
        for made in found:
            idle_seconds = (datetime.now(UTC) - made.used_at).total_seconds()
            if total > limit_bytes and made.path != keep and idle_seconds > IN_USE_SECONDS:
                with contextlib.suppress(ConflictError), self._lock(made.toolchain, wait=False):
                    _discard(made.path)
                    total -= made.size_bytes

    def _candidates(self) -> list[Path]:
        return [path for path in self.folder.glob("*-*") if path.is_dir() and not path.is_symlink()]

    @contextlib.contextmanager
    def _lock(self, name: str, *, wait: bool = True) -> Iterator[None]:
        import fcntl  # not where a client alone may run

        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f".{name}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise ConflictError(
                    f"The toolchain {name} is being made.", remedy="Wait until that is over, then try again."
                ) from None
            yield


def _made(path: Path) -> Made | None:
    try:
        facts = json.loads((path / COMPLETE).read_text())
        used = datetime.fromtimestamp((path / USED).stat().st_mtime, UTC)
    except FileNotFoundError:
        return None
    return Made(_name(path), path, facts["size_bytes"], facts["seconds"], used)


def _name(path: Path) -> str:
    return path.name.rpartition("-")[0]


def _discard(path: Path) -> None:
    (path / COMPLETE).unlink(missing_ok=True)  # first: from now on nobody takes it
    shutil.rmtree(path)


def _run(toolchain: Toolchain, command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=MAKE_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise InfrastructureError(
            f"The toolchain {toolchain.name} was not made within {MAKE_TIMEOUT_SECONDS:g} s.",
            remedy="Check the connection to the package index, then try again.",
        ) from error
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())[-_LOG_CHARACTERS:]
        raise InfrastructureError(
            f"The toolchain {toolchain.name} could not be made: {said}",
            remedy="It needs the package index (or pip's settings for another one) and free disk; then try again.",
        )
