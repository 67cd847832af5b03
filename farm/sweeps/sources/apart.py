"""Calls one of our functions in a process of its own, where it can be ended: libraries of storage and registries have
time-outs for single requests at best, and some for none. ``python -P -m farm.sweeps.sources.apart FOLDER``."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from farm.errors import FarmError, InfrastructureError, InternalError, error_classes
from farm.recipes import limits
from farm.recipes.boundary import reason
from farm.types import Failure

_ROOT = Path(__file__).resolve().parents[3]
_CALL, _OUTCOME, _LOG = "call.json", "outcome.json", "call.log"
_TAIL_CHARACTERS = 1000
_PR_SET_PDEATHSIG = 1  # prctl(2)


def call(
    function: Callable[..., Any],
    folder: Path,
    what: str,
    *,
    timeout_seconds: float,
    memory_bytes: int,
    **arguments: Any,
) -> Any:
    """What ``function(**arguments)`` returns; both are JSON. ``folder`` is for this call's notes alone.

    Raises what it raises of ours; InfrastructureError where it met a limit or died, naming ``what`` was done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    order = {
        "module": function.__module__,
        "function": function.__name__,
        "arguments": arguments,
        "parent": os.getpid(),
    }
    (folder / _CALL).write_text(json.dumps(order))
    (folder / _OUTCOME).unlink(missing_ok=True)
    python_path = [str(_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    ended = limits.run(
        [sys.executable, "-P", "-m", "farm.sweeps.sources.apart", str(folder)],
        environment={**os.environ, "PYTHONPATH": os.pathsep.join(python_path)},
        folder=folder,
        log=folder / _LOG,
        timeout_seconds=timeout_seconds,
        memory_bytes=memory_bytes,
    )
    if ended.stopped_by == "time":
        raise InfrastructureError(
            f"{what} took longer than {timeout_seconds:g} s.",
            remedy="Check that the place answers; where the files are large, have the operator raise "
            "sweep_fetch_timeout_seconds.",
        )
    try:
        outcome = json.loads((folder / _OUTCOME).read_bytes())
    except (FileNotFoundError, ValueError) as error:
        tail = (folder / _LOG).read_text(errors="replace")[-_TAIL_CHARACTERS:]
        ending = "took too much memory" if ended.stopped_by else f"ended with exit code {ended.returncode}"
        raise InfrastructureError(
            f"{what} {ending} and without a result.", remedy="Look at the end of its log, then try again.",
            details={"log_tail": tail},
        ) from error  # fmt: skip
    if failure := outcome["failure"]:
        raise rebuilt(Failure.model_validate(failure))
    return outcome["value"]


def rebuilt(failure: Failure) -> FarmError:
    kinds = {kind.code: kind for kind in error_classes()}
    return kinds.get(failure.code, InternalError)(failure.message, remedy=failure.remedy)


def main() -> None:
    folder = Path(sys.argv[1])
    order = json.loads((folder / _CALL).read_bytes())
    # Nobody would end it once its parent is gone, and nobody waits.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != order["parent"]:
        return
    value, failure = None, None
    try:
        value = getattr(importlib.import_module(order["module"]), order["function"])(**order["arguments"])
    except FarmError as error:
        failure = Failure.of(error).model_dump(mode="json")
    except Exception as error:  # noqa: BLE001 - the edge of the process: a library may raise anything
        unknown = InfrastructureError(f"It failed: {reason(error)}", remedy="Check the source, then try again.")
        failure = Failure.of(unknown).model_dump(mode="json")
    (folder / _OUTCOME).write_text(json.dumps({"value": value, "failure": failure}))


if __name__ == "__main__":
    main()
