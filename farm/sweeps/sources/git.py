"""A model that a command of a Git repository exports. Its version is the commit."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from farm.config import Settings
from farm.errors import FarmError, ForbiddenError, ModelError, NotFoundError, RecipeError, UserError
from farm.packaging import FORMATS
from farm.recipes import limits
from farm.recipes.boundary import disk_full
from farm.recipes.limits import Ended
from farm.sweeps import confined
from farm.sweeps.sources.intake import EXAMPLE, Files, Found
from farm.sweeps.sources.repository import COMMIT, Repository
from farm.types import GitModel

EXPORT_DIR = "FARM_EXPORT_DIR"
_ROOT = Path(__file__).resolve().parents[3]
_PASSED_ON = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_TAIL_CHARACTERS = 2000
_FREE_BYTES = 2**29  # a command that leaves less of the disk is stopped


def check(source: GitModel, settings: Settings) -> None:
    """Raises ForbiddenError, NotFoundError, UserError, InfrastructureError."""
    _check_allowed(source, settings)
    Repository(source.repository, settings).check(source.ref)


def find(source: GitModel, version: str | None, folder: Path, settings: Settings) -> Found:
    """Fetches the repository; ``version``: a whole commit."""
    _check_allowed(source, settings)
    if version is not None and not COMMIT.fullmatch(version):
        raise UserError(f"{version!r} is no commit.", remedy="Give the whole hash of the commit.")
    repository = Repository(source.repository, settings)
    repository.fetch()
    commit = repository.commit(version or source.ref)
    identity = source.model_dump_json(exclude={"ref", "timeout_seconds"})
    return Found(commit, identity, lambda: _export(source, repository, commit, folder, settings))


def versions_between(source: GitModel, good: str, bad: str, settings: Settings) -> tuple[str, ...]:
    repository = Repository(source.repository, settings)
    repository.fetch()
    return repository.between(good, bad)


def _check_allowed(source: GitModel, settings: Settings) -> None:
    if not settings.allow_sweep_commands:
        raise ForbiddenError(
            "This farm does not run export commands of repositories.",
            remedy="An administrator who trusts everyone with a token, and all who push to the repositories, sets "
            "allow_sweep_commands = true in the head's farm.toml.",
        )
    if any("\0" in argument for argument in source.export) or not source.export[0]:
        raise UserError("The export command cannot be run.", remedy="Write it as a list: the program, then arguments.")


def _export(source: GitModel, repository: Repository, commit: str, folder: Path, settings: Settings) -> Files:
    """The log and the order lie outside of the box: nothing that the command does may put others in their place."""
    box = folder / "box"
    tree, left, private = box / "tree", box / "export", box / "tmp"
    for path in (box, left, private):
        path.mkdir()
    repository.check_out(commit, tree, folder / "index")
    order = confined.Order(
        command=source.export,
        box=box,
        folder=tree,
        memory_bytes=settings.build_memory_bytes,
        file_bytes=settings.max_upload_bytes,
        parent=os.getpid(),
    )
    (folder / "order.json").write_text(order.model_dump_json())
    log = folder / "export.log"

    def looking() -> None:
        if shutil.disk_usage(box).free < _FREE_BYTES:
            raise disk_full(f"Exporting {commit[:12]} failed")

    ended = limits.run(
        [sys.executable, "-P", "-m", confined.__name__, str(folder / "order.json")],
        environment=_environment(left, private, commit),
        folder=box,
        log=log,
        timeout_seconds=source.timeout_seconds,
        memory_bytes=settings.build_memory_bytes,
        looking=looking,
    )
    tail = _tail(log)
    _check_ended(source, commit, ended, tail, settings)
    return _files(source, commit, left, tail)


def _environment(left: Path, private: Path, commit: str) -> dict[str, str]:
    """Nothing of this process that could be secret; this Python comes first, with the packages that it has."""
    python_path = [str(_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(python_path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HOME": str(private),
        "TMPDIR": str(private),
        "USER": "farm",
        "FARM_COMMIT": commit,
        EXPORT_DIR: str(left),
    }


def _check_ended(source: GitModel, commit: str, ended: Ended, tail: str, settings: Settings) -> None:
    what = f"The export command of {source.repository} at {commit[:12]}"
    if ended.returncode == confined.NOT_CONFINED and not ended.stopped_by:
        raise ForbiddenError(
            f"{what} was not run. {tail}",
            remedy="Export commands need a kernel with Landlock and network namespaces; in a container, one that may "
            "use them.",
        )
    if ended.stopped_by == "time":
        said, remedy = f"took longer than {source.timeout_seconds:g} s", "Make it faster, or raise timeout_seconds."
    elif ended.stopped_by == "memory":
        said = f"took more than the limit of {settings.build_memory_bytes:,} bytes of memory"
        remedy = "Make it smaller, or have the operator raise build_memory_bytes."
    elif ended.returncode < 0:
        said, remedy = f"was ended by signal {-ended.returncode}", "Look at the end of what it said, below."
    elif ended.returncode > 0:
        said, remedy = f"failed with exit code {ended.returncode}", "Look at the end of what it said; try it yourself."
    else:
        return
    raise _failed(RecipeError, f"{what} {said}", remedy, tail)


def _files(source: GitModel, commit: str, left: Path, tail: str) -> Files:
    what = f"The export command of {source.repository} at {commit[:12]}"
    if left.is_symlink() or not left.is_dir():
        raise _failed(ModelError, f"{what} replaced its folder", f"Write files into ${EXPORT_DIR}.", tail)
    programs = sorted(path for path in left.iterdir() if path.name in {f"model{suffix}" for suffix in FORMATS})
    if len(programs) != 1:
        found = ", ".join(path.name for path in programs) or "none"
        wanted = f"Let it write one of {', '.join(f'model{suffix}' for suffix in FORMATS)} to ${EXPORT_DIR}."
        raise _failed(ModelError, f"{what} has to leave one model, and left {found}", wanted, tail)
    if not os.path.lexists(left / EXAMPLE):
        raise _failed(NotFoundError, f"{what} left no {EXAMPLE}", f"Let it write one to ${EXPORT_DIR}.", tail)
    files = Files.at(left, programs[0].name, source.dynamic_batch)
    for path in (files.program, *files.samples):
        # A link would lead the head to a file that the command itself could not read.
        if path.is_symlink() or not path.is_file() or path.stat().st_nlink != 1:
            raise _failed(ModelError, f"{what} left {path.name} as a link", "Let it write a plain file.", tail)
    return files


def _failed(kind: type[FarmError], said: str, remedy: str, tail: str) -> FarmError:
    heard = f" It said at the end:\n{tail}" if tail else " It said nothing."
    return kind(f"{said}.{heard}", remedy=remedy, details={"log_tail": tail})


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_CHARACTERS))
        return file.read().decode(errors="replace").strip()
