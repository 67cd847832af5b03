"""Builds one artifact, from any process (a Ray task, a test): stage the files, run the child, store what it made."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from farm.errors import FarmError, InfrastructureError, InternalError, RecipeError, error_classes
from farm.recipes import limits, operators, scratch, specification, toolchains, worker
from farm.recipes.boundary import FULL_DISK, disk_full
from farm.recipes.buildlog import BuildLog
from farm.recipes.checkpoint import Checkpoints
from farm.recipes.keys import student_keys, tool_versions
from farm.recipes.limits import Ended
from farm.recipes.program import CALIBRATION, EVALUATION, EXAMPLES, PARITY, PROGRAM, TRAINING, part_folder
from farm.recipes.runtimes import BUILDERS, reference
from farm.recipes.specification import REFERENCE_RUNTIME
from farm.recipes.toolchains.environments import Environments
from farm.recipes.worker import ORDER, OUTCOME, OUTPUT, Order, Outcome
from farm.store.artifacts import ArtifactStore
from farm.types import Artifact, BuildReport, BuildRequest, ModelSpec

_log = logging.getLogger(__name__)

_FULL_BYTES = 1 << 20  # a file system with less than this left is full
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


def run_build(request: BuildRequest) -> Artifact:
    """Build in a confined child process and put the result into the store.

    Raises ModelError (the program is unsafe, does not load or does not fit its inputs), RecipeError (the converter
    failed, crashed or met a limit; ``details["log_tail"]`` is the end of its log), RecipeSpecError (wrong format),
    InfrastructureError (killed from outside, disk full, other tools here than asked for).
    """
    specification.check_accepts(request.recipe, request.model.format)
    _check_tools(request)
    scratch.discard_leftovers()
    store = ArtifactStore(request.store_url)
    sdks = {name: str(path) for name, path in specification.sdks(specification.tools(request.recipe)).items()}
    with scratch.folder() as folder:
        log = BuildLog(folder, store, request.key)
        checkpoints = Checkpoints(folder, store, student_keys(request.model.id, request.recipe))

        def looking() -> None:
            log.show()
            checkpoints.keep()

        try:
            _stage(request, store, folder, sdks)
            checkpoints.restore()
            ended = limits.run(
                [sys.executable, "-P", "-m", worker.__name__, str(folder / ORDER)],
                environment=_environment(folder, gpu=specification.may_use_gpu(request.recipe)) | sdks,
                folder=folder,
                log=log.path,
                timeout_seconds=request.timeout_seconds,
                memory_bytes=request.memory_bytes,
                looking=looking,
            )
            checkpoints.keep()
        except OSError as error:
            if error.errno in FULL_DISK:
                raise disk_full(f"Building {request.recipe.name} failed") from error
            raise
        try:
            outcome = _outcome(request, ended, folder, log, checkpoints)
            made = _made(request, folder)
        except FarmError as error:
            error.details.update(_kept(log))
            raise
        kept = log.keep()
        files = tuple(store.put_file(path) for path in made)
    return Artifact(
        key=request.key,
        files=files,
        report=BuildReport(
            seconds=ended.seconds,
            peak_rss_bytes=max(ended.peak_rss_bytes, outcome.peak_rss_bytes),
            tool_versions=request.tool_versions,
            notes=outcome.notes,
            network_isolated=outcome.network_isolated,
            lineage=outcome.lineage,
            parameters=outcome.parameters,
            flops=outcome.flops,
            delegation=outcome.delegation,
            log=kept,
        ),
    )


def _check_tools(request: BuildRequest) -> None:
    """The artifact is known by the versions of its tools, also where it is built on another machine."""
    if (here := tool_versions(request.recipe)) != request.tool_versions:
        raise InfrastructureError(
            f"{socket.gethostname()} has other tools than the farm's head: {here}, not {request.tool_versions}.",
            remedy="Install the same versions on every machine that builds.",
        )


def _stage(request: BuildRequest, store: ArtifactStore, folder: Path, sdks: Mapping[str, str]) -> None:
    model = request.model
    stage_model(model, store, folder)
    if model.evaluation is not None and request.recipe.runtime == REFERENCE_RUNTIME:
        store.fetch(model.evaluation.inputs, folder / EVALUATION)
    (folder / "tmp").mkdir()
    # Their keys were checked with the tools. The child may not write there, so that it is marked as used here.
    environments = Environments(toolchains.directory())
    made = [environments.use(toolchain).path for toolchain in toolchains.of_tools(tuple(request.tool_versions))]
    order = Order(
        model=model,
        recipe=request.recipe,
        readable=(*map(Path, sdks.values()), *made),
        memory_bytes=request.memory_bytes,
        parent=os.getpid(),
        gpu=specification.may_use_gpu(request.recipe),
    )
    (folder / ORDER).write_text(order.model_dump_json())


def stage_model(model: ModelSpec, store: ArtifactStore, folder: Path) -> None:
    store.fetch(model.program, folder / PROGRAM)
    store.fetch(model.example_inputs, folder / EXAMPLES)
    store.fetch(model.parity_inputs, folder / PARITY)
    if model.calibration_inputs is not None:
        store.fetch(model.calibration_inputs, folder / CALIBRATION)
    for custom in model.custom_operators:
        store.fetch(custom.file, operators.staged(custom, folder))
    if model.training_inputs is not None:
        store.fetch(model.training_inputs, folder / TRAINING)
    for position, part in enumerate(model.fusion.parts if model.fusion else ()):
        inside = part_folder(folder, position)
        inside.mkdir()
        stage_model(part, store, inside)


def _environment(folder: Path, *, gpu: bool) -> dict[str, str]:
    """No secrets of this process (tokens, store credentials) go to the child; its home is its own folder."""
    package_root = str(Path(__file__).resolve().parents[2])
    python_path = [package_root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    private = str(folder / "tmp")
    return {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "PYTHONPATH": os.pathsep.join(python_path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONFAULTHANDLER": "1",  # a crash in native code leaves its Python stack in the log
        "PYTHONUNBUFFERED": "1",
        "OMP_WAIT_POLICY": "PASSIVE",  # builds share cores: threads that spin made a training 40 times slower
        "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
        **({} if gpu else {"CUDA_VISIBLE_DEVICES": ""}),
        "HOME": private,
        "TMPDIR": private,
        "USER": "farm",
        "TORCHINDUCTOR_CACHE_DIR": private,
        toolchains.DIRECTORY_VARIABLE: str(toolchains.directory()),
    }


def _kept(log: BuildLog) -> dict[str, Any]:
    """The log of a build that failed, for its error; a store that fails as well must not hide that error."""
    try:
        return {"log": log.keep().model_dump(mode="json")}
    except (InfrastructureError, OSError) as error:
        _log.warning("The log of a failed build could not be kept: %s", error)
        return {}


def _outcome(request: BuildRequest, ended: Ended, folder: Path, log: BuildLog, checkpoints: Checkpoints) -> Outcome:
    """What the child reported, or the error that its end amounts to."""
    recipe, tail = request.recipe.name, log.tail()
    if ended.stopped_by is not None:
        raise _stopped(request, ended, log, checkpoints)
    outcome = _read_outcome(folder / OUTCOME)
    failed = outcome is None or outcome.failure is not None
    if failed and shutil.disk_usage(folder).free < _FULL_BYTES:
        raise disk_full(f"Building {recipe} failed")
    if ended.returncode < 0:
        raise _killed(recipe, -ended.returncode, tail)
    if outcome is None:
        raise _failed(
            RecipeError,
            f"Building {recipe} ended with exit code {ended.returncode} and without a result.",
            "Look at the end of the build's log.",
            tail,
        )
    if outcome.failure is not None:
        kinds = {kind.code: kind for kind in error_classes()}
        kind = kinds.get(outcome.failure.code, RecipeError)
        raise _failed(kind, outcome.failure.message, outcome.failure.remedy, tail)
    return outcome


def _stopped(request: BuildRequest, ended: Ended, log: BuildLog, checkpoints: Checkpoints) -> FarmError:
    """The limit, how far it came, and what to set."""
    if ended.stopped_by == "time":
        what = f"took longer than the limit of {request.timeout_seconds:g} s"
        setting = "distill_timeout_seconds" if specification.trains(request.recipe) else "build_timeout_seconds"
        twice = f"{2 * request.timeout_seconds:g}"
    else:
        what = f"took more than the limit of {request.memory_bytes:,} bytes of memory"
        setting, twice = "build_memory_bytes", f"{2 * request.memory_bytes}"
    step = log.last_step()
    kept = " What it had trained is kept: the next build goes on from there." if checkpoints.exist else ""
    came = f"in its step {step}" if step else "before its first step"
    return _failed(
        RecipeError,
        f"Building {request.recipe.name} {what} and was stopped {came}, after {ended.seconds:.0f} s, with up to "
        f"{ended.peak_rss_bytes:,} bytes.{kept}",
        f"Try a smaller model or another recipe, or have the operator raise {setting} (to {twice}, say).",
        log.tail(),
        limit=ended.stopped_by,
    )


def _killed(recipe: str, number: int, tail: str) -> FarmError:
    name = signal.Signals(number).name
    if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        return _failed(
            InfrastructureError,
            f"The process that built {recipe} was killed from outside ({name}).",
            "The machine may be out of memory, or somebody ended it: build again.",
            tail,
        )
    return _failed(
        RecipeError,
        f"The converter crashed while building {recipe} ({name}).",
        "Look at the end of the build's log; try another recipe or tool version.",
        tail,
    )


def _failed(kind: type[FarmError], message: str, remedy: str, tail: str, **details: Any) -> FarmError:
    return kind(message, remedy=remedy, details={**details, "log_tail": tail})


def _read_outcome(path: Path) -> Outcome | None:
    try:
        return Outcome.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None  # none, or cut short: the child died while writing it


def _made(request: BuildRequest, folder: Path) -> list[Path]:
    """The files that the builder has to leave; a link would lead the store to a file outside."""
    runtime = request.recipe.runtime
    names = reference.files(request.model) if runtime == REFERENCE_RUNTIME else BUILDERS[runtime].FILES
    paths = [folder / OUTPUT / name for name in names]
    for path in paths:
        if path.is_symlink() or not path.is_file():
            raise InternalError(
                f"The builder of {runtime} left no {path.name}.",
                remedy="Report this as a bug, with the model if you can.",
            )
    return paths
