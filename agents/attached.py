"""What is attached to this agent: devices by id, each with its driver, and a revision that says when that changed."""

from __future__ import annotations

import itertools
import logging
import uuid
from collections.abc import Mapping

from agents.drivers.base import Driver
from farm.errors import InfrastructureError
from farm.types import Device

log = logging.getLogger(__name__)


class Attached:
    """Looking up a device costs the same however many there are: drivers are asked, but only a changed answer is
    read. ``drivers``: by name."""

    def __init__(self, drivers: Mapping[str, Driver]) -> None:
        self._drivers = drivers
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
        return tuple(itertools.chain.from_iterable(index.values() for index in self._index.values()))

    def driver_of(self, device_id: str) -> Driver:
        """Raises InfrastructureError when the device is not here now."""
        self._refresh()
        for name, index in self._index.items():
            if device_id in index:
                return self._drivers[name]
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
