"""A phone behind adb, as the rest of this room sees it, and where our files lie on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

# The one folder in which an unrooted shell may both write and execute. All of ours is below it.
ROOT = "/data/local/tmp/torchfarm"
LAYERS = f"{ROOT}/layers"  # <sha256>/: unpacked bundle layers
BLOBS = f"{ROOT}/blobs"  # <sha256>: files of leases
ATTEMPTS = f"{ROOT}/attempts"  # <id>/: job.json, records.jsonl, log.txt, exit, samples.tsv
TOOLS = f"{ROOT}/tools"  # <sha256>: programs of other people's


@dataclass(frozen=True)
class Output:
    """What a command said. A non-zero exit code is no error by itself."""

    stdout: str
    stderr: str
    exit_code: int
    seconds: float


class Phone(Protocol):
    @property
    def serial(self) -> str:
        """As adb calls it: a USB serial, or HOST:PORT."""
        ...

    async def shell(self, command: str, *, timeout_seconds: float = 10.0) -> Output:
        """Run a command of the phone's shell; cancelled, it is hung up on. Raises LinkLost, DeviceTimeout (it did not
        end in time), OutputCut (it was killed, or what it said is not whole)."""
        ...

    async def push(self, local: Path, remote: str, *, executable: bool = False) -> None:
        """Whole and verified by its hash on the phone, or not at all. Raises LinkLost, DeviceTimeout, DeviceError."""
        ...

    async def pull(self, remote: str, local: Path) -> None:
        """Verified by its hash. Raises DeviceError where it is missing, LinkLost, DeviceTimeout, OutputCut."""
        ...

    async def read(self, remote: str, *, max_bytes: int) -> bytes:
        """A whole small file. Raises DeviceError where it is missing or larger, LinkLost, DeviceTimeout, OutputCut."""
        ...
