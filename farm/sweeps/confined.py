"""Runs a foreign command where it can do no harm: ``python -P -m farm.sweeps.confined ORDER.json``.

This process confines itself as builds do (``farm.recipes.sandbox``) and becomes the command.

Builds go on where the kernel refuses to confine them, since they load programs; a command is anything, and does not."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

from pydantic import Field

from farm.recipes import sandbox
from farm.types import Frozen

NOT_CONFINED, NOT_STARTED = 251, 252  # exit codes, beside what is said in the log


class Order(Frozen):
    """``box``: all that the command may write to. ``file_bytes``: of one file."""

    command: tuple[str, ...] = Field(min_length=1)
    box: Path
    folder: Path
    memory_bytes: int
    file_bytes: int
    parent: int


def main() -> int:
    order = Order.model_validate_json(Path(sys.argv[1]).read_bytes())
    isolation = sandbox.enter(order.box, parent=order.parent, memory_bytes=order.memory_bytes)
    if not (isolation.network and isolation.files):
        refused = "the network" if isolation.files else "files"
        sys.stderr.write(f"This machine's kernel does not let the farm keep the command off {refused}.\n")
        return NOT_CONFINED
    resource.setrlimit(resource.RLIMIT_FSIZE, (order.file_bytes, order.file_bytes))
    os.chdir(order.folder)
    try:
        os.execvp(order.command[0], order.command)  # noqa: S606 - a list, and no shell is wanted
    except OSError as error:
        sys.stderr.write(f"{order.command[0]} could not be started: {error.strerror}.\n")
        return NOT_STARTED


if __name__ == "__main__":
    sys.exit(main())
