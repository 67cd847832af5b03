"""Devices that are in service, for tests that are about something else."""

from __future__ import annotations

from dataclasses import dataclass

from farm.coordinator.events import DeviceChecked, DeviceSeen
from farm.coordinator.instructions import Instruction
from farm.coordinator.state import FarmState


def bring(state: FarmState, id: str, agent: str = "agent", host: str = "bench") -> list[Instruction]:
    """It appears and passes its check."""
    return state.apply(DeviceSeen(id, agent, host)) + state.apply(DeviceChecked(id, True, "as it should be"))


@dataclass
class FixedPace:
    """The same for all devices."""

    job: float | None
    held: float | None

    def job_seconds(self, device_id: str) -> float | None:
        return self.job

    def held_seconds(self, device_id: str) -> float | None:
        return self.held
