"""Commands for a phone's shell: wrapped so that a whole answer is told from one that ends in the middle. Pure."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Mapping, Sequence

from farm.errors import OutputCut


def marker() -> str:
    """Not to be found in any command's output by chance."""
    return f"torchfarm-{secrets.token_hex(8)}"


def wrap(command: str, mark: str) -> str:
    """A line for ``/system/bin/sh -c`` that runs ``command`` in a shell of its own, whatever it does to that shell
    (``exit``, a syntax error), and then says ``mark`` and its exit code."""
    return f"sh -c {shlex.quote(command)}; printf '\\n%s %d\\n' {mark} $?"


def unwrap(stdout: str, mark: str, command: str) -> tuple[str, int]:
    """What the command itself wrote, and its exit code. Raises OutputCut where the end marker is missing."""
    text, found, tail = stdout.rpartition(f"\n{mark} ")
    code = tail.removesuffix("\n")
    if not found or not tail.endswith("\n") or not code.isdecimal():
        raise OutputCut(
            f"The phone's answer to `{shortened(command)}` ends in the middle, after {len(stdout)} characters.",
            remedy="Its shell was killed (out of memory?) or something between garbles the output; it is tried again.",
        )
    return text, int(code)


def shortened(command: str, limit: int = 120) -> str:
    """For messages."""
    line = " ".join(command.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def quoted(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """A command line of these words, with these variables set for it alone."""
    variables = [f"{name}={shlex.quote(value)}" for name, value in (environment or {}).items()]
    return " ".join([*variables, shlex.join(arguments)])
