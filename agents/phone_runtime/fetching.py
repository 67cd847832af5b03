"""Running the programs that fetch packages, and saying what went wrong."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from farm.errors import InfrastructureError

_TAIL_CHARACTERS = 1_000
# What the programs say, and what to do about it; the first that is found counts.
_REMEDIES = (
    (r"No space left|not have enough free space", "The disk is full: free some, or set FARM_PHONE_RUNTIME_DIR."),
    (
        r"DO NOT MATCH THE HASHES|Hash Sum mismatch",
        "The file is not the one that was locked: nothing was built of it. A proxy or mirror may be at fault; where "
        "the package index offers another build of the same version, make a lock of your own (--lock FILE).",
    ),
    (
        r"resolv|Connection|connect|timed out|Max retries|Network is unreachable|Failed to fetch",
        "Check the network and the proxy settings of pip and apt; or bring the files: --packages FOLDER.",
    ),
    (
        r"No matching distribution",
        "pip's index has no such file (version, ABI, Python 3.11). CPU builds of torch for x86_64 lie in an index of "
        "their own: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu. Or bring the file: --packages FOLDER.",
    ),
)


def run(
    command: Sequence[str],
    source: str,
    *,
    timeout_seconds: float,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """What the program printed. Raises InfrastructureError, with what it said last and what to do."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_seconds,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})},
        )
    except subprocess.TimeoutExpired as error:
        raise InfrastructureError(
            f"{source} did not deliver within {timeout_seconds:g} s.", remedy="Check the network, then try again."
        ) from error
    if done.returncode == 0:
        return done.stdout
    said = (done.stderr + done.stdout).strip()
    remedy = next((text for pattern, text in _REMEDIES if re.search(pattern, said)), "See what it says; try again.")
    raise InfrastructureError(f"{source} did not deliver: {' '.join(said.split())[-_TAIL_CHARACTERS:]}", remedy=remedy)
