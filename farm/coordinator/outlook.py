"""When waiting jobs are likely to start: answers the API from what the state machine knows and the store remembers."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from farm.coordinator.explanation import explain
from farm.coordinator.leases import Leases
from farm.coordinator.state import FarmState
from farm.store.reading import Reading
from farm.types import JobWait


def outlook(job_ids: Sequence[int], state: FarmState, leases: Leases, reading: Reading) -> list[JobWait]:
    pace = _MeasuredPace(state, leases, reading)
    waits = []
    for job_id in job_ids:
        told = explain(state, job_id, pace)
        waits.append(JobWait(job_id=job_id, text=told.text, starts_in_seconds=told.starts_in_seconds, live=True))
    return waits


class _MeasuredPace:
    """The median of a device's last finished attempts. One of a device that has finished none is not known."""

    def __init__(self, state: FarmState, leases: Leases, reading: Reading) -> None:
        self._state, self._leases, self._reading = state, leases, reading
        self._job_seconds: dict[str, float | None] = {}

    def job_seconds(self, device_id: str) -> float | None:
        if device_id not in self._job_seconds:
            seconds = self._reading.job_seconds(device_id)
            self._job_seconds[device_id] = statistics.median(seconds) if seconds else None
        return self._job_seconds[device_id]

    def held_seconds(self, device_id: str) -> float | None:
        holders = [self._state.jobs[job_id] for job_id in self._state.devices[device_id].holders]
        return max((self._leases.held_seconds(job.id, job.epoch) for job in holders), default=None)
