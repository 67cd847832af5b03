"""What is attached to this agent: devices by id, each with its driver, and a revision that says when that changed."""

from __future__ import annotations

import itertools
import logging
import uuid
from collections.abc import Mapping
from typing import get_args

from agents.drivers.base import Driver, ReadingDriver
from farm.errors import InfrastructureError
from farm.types import Device, DeviceReadings, Hook, RecoveryStep

log = logging.getLogger(__name__)


class Attached:
    """Looking up a device costs the same however many there are: drivers are asked, but only a changed answer is
    read. ``drivers``: by name. ``hooks``: those that this agent has, for every device."""

    def __init__(self, drivers: Mapping[str, Driver], hooks: tuple[Hook, ...] = ()) -> None:
        self._drivers, self._hooks = drivers, hooks
        self._answers: dict[str, tuple[Device, ...]] = {}
        self._index: dict[str, dict[str, Device]] = {}
        self._life = uuid.uuid4().hex  # a later process of this agent counts anew
        self._count = 0

    @property
    def revision(self) -> str:
        """Another one after every change, also over restarts of the agent."""
        self._refresh()
        return f"{self._life}:{self._count}"

    def devices(self) -> tuple[Device, ...]:
        self._refresh()
        found = itertools.chain.from_iterable(index.values() for index in self._index.values())
        return tuple(map(self._with_hooks, found)) if self._hooks else tuple(found)

    def driver_of(self, device_id: str) -> Driver:
        """Raises InfrastructureError when the device is not here now."""
        return self._drivers[self._find(device_id)[0]]

    def device(self, device_id: str) -> Device:
        """Raises InfrastructureError when it is not here now."""
        return self._with_hooks(self._find(device_id)[1])

    def readings(self) -> dict[str, DeviceReadings]:
        """Of devices that show something: asked now of drivers that can say, else as they were found last."""
        found: dict[str, DeviceReadings] = {}
        for name, driver in self._drivers.items():
            if isinstance(driver, ReadingDriver):
                found |= driver.readings()
            else:
                found |= {device.id: device.readings for device in self._answers.get(name, ()) if device.readings}
        return found

    def blocked(self, device_id: str) -> str:
        """Why nothing may start on it now; nothing is known of a device that is not here."""
        self._refresh()
        return next((index[device_id].blocked for index in self._index.values() if device_id in index), "")

    def _find(self, device_id: str) -> tuple[str, Device]:
        self._refresh()
        for name, index in self._index.items():
            if device := index.get(device_id):
                return name, device
        raise InfrastructureError(
            f"{device_id} is not attached.", remedy="Plug it in or switch it on again; the job is tried again."
        )

    def _refresh(self) -> None:
        changed = False
        for name, driver in self._drivers.items():
            answer = driver.discover()
            if answer is not self._answers.get(name):
                self._answers[name] = answer
                changed = True
        if changed:
            self._count += 1
            self._index = self._indexed()

    def _indexed(self) -> dict[str, dict[str, Device]]:
        """An id that two drivers claim belongs to the first."""
        taken: set[str] = set()
        indices = {}
        for name, answer in self._answers.items():
            indices[name] = {device.id: device for device in answer if device.id not in taken}
            if len(indices[name]) < len(answer):
                log.error("driver %s offers devices that others offer, too: they are left out", name)
            taken.update(indices[name])
        return indices

    def _with_hooks(self, device: Device) -> Device:
        offered = {*device.recovery} | ({"power-cycle"} & {*self._hooks})
        recovery = tuple(step for step in get_args(RecoveryStep) if step in offered)
        return device.model_copy(update={"hooks": self._hooks, "recovery": recovery})
