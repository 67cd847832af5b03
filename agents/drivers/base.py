"""What a driver must be able to do. One driver object serves all devices of its kind on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from farm.types import Device, Lease, Measurement


class Driver(Protocol):
    def discover(self) -> list[Device]:
        """The devices that are attached now. Cheap: called every few seconds."""
        ...

    def launch(self, lease: Lease, files: Mapping[str, Path], folder: Path) -> tuple[int, float]:
        """Start the harness detached from this process; (pid, start time of the process).

        ``files`` maps the hash of every blob of the lease to a local file; the harness writes into
        ``folder``. Raises InfrastructureError.
        """
        ...

    async def collect(
        self, lease: Lease, pid: int, process_started: float, folder: Path, *, adopted: bool
    ) -> Measurement:
        """Wait for the end and read what was measured.

        ``adopted``: the agent was restarted since the launch, readings of its meters are incomplete.
        Raises DeviceError (crash, time-out), or whatever side the harness's error record is on.
        """
        ...

    def kill(self, pid: int, process_started: float) -> None:
        """End the harness and all its children now. No error if it is gone already."""
        ...
