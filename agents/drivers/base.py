"""What a driver must be able to do. One driver object serves all devices of its kind on one machine.

Drivers of other packages are found by the entry point group ``torchfarm.drivers``. An entry point names a callable
that takes ``farm.config.Settings`` and returns a ``Driver``, or None where it has nothing to offer on this machine:

    [project.entry-points."torchfarm.drivers"]
    microcontroller = "my_package.driver:attached"

The entry point's name is for messages; ``Driver.name`` is what the journal keeps. A driver that cannot be loaded is
logged and left out, the others work on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from farm.types import Device, DeviceReadings, Lease, Measurement, RecoveryStep

ENTRY_POINTS = "torchfarm.drivers"


class Driver(Protocol):
    @property
    def name(self) -> str:
        """Unique on this machine and the same over restarts: the journal finds the driver of an attempt by it."""
        ...

    @property
    def needs_files(self) -> bool:
        """Whether ``launch`` reads the blobs of the lease. If not, they are not fetched and ``files`` is empty."""
        ...

    def discover(self) -> tuple[Device, ...]:
        """The devices that are attached now; their ids are stable over restarts.

        ``Device.recovery`` are the steps that ``recover`` can take there, ``Device.blocked`` says why no attempt should
        start there for the moment (too hot, battery empty): the same text while it lasts.
        Called every few seconds and before every start, so it must not search: return the very same object as the last
        time while nothing has changed, and the agent does nothing at all.
        """
        ...

    async def launch(self, lease: Lease, files: Mapping[str, Path], folder: Path) -> str:
        """Start the attempt so that it outlives this process; a handle by which a later process finds it again.

        The handle is the driver's own business: text (JSON, say) that the journal keeps. ``files`` maps the hash of
        every blob of the lease to a local file; whatever is written goes into ``folder``. It may take minutes (files
        that are pushed); when it is cancelled, nothing of the attempt is left running. Raises InfrastructureError,
        DeviceError, RecipeError.
        """
        ...

    async def collect(self, lease: Lease, handle: str, folder: Path, *, adopted: bool) -> Measurement:
        """Wait for the end and read what was measured.

        ``adopted``: the agent was restarted since the launch, readings of its meters are incomplete.
        Raises DeviceError (crash, time-out), or whatever side the harness's error record is on.
        """
        ...

    def kill(self, handle: str) -> None:
        """End the attempt and all its processes. No error if it is gone already.

        Returns at once. Where a device is far away the end may take longer: the next ``launch`` there waits for it.
        """
        ...

    async def check(self, device_id: str) -> str:
        """See whether the device is fit to measure; what was found good, for people ("ran arithmetic in 0.12 s").

        Never during an attempt on it. Under a time-out of the agent's, which cancels it. Raises DeviceError or
        InfrastructureError with what is wrong.
        """
        ...

    async def recover(self, device_id: str, step: RecoveryStep) -> None:
        """Take one step of the recovery ladder, and wait until the device is back.

        After "power-cycle" where the agent has a hook for it, the power was cut and restored already: only the waiting
        is left. Under a time-out of the agent's, which cancels it. Raises DeviceError or InfrastructureError.
        """
        ...

    async def close(self) -> None:
        """Let go of the devices; what runs on them goes on."""
        ...


@runtime_checkable
class ReadingDriver(Driver, Protocol):
    """A driver that can say how its devices are at this moment. Of another, ``Device.readings`` are shown."""

    def readings(self) -> dict[str, DeviceReadings]:
        """By device, without those that show nothing. Called at every scrape: what is slow to read is left out."""
        ...
