"""The leases that are out: which attempt holds a device through which agent, and until when."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass
class OpenLease:
    attempt_id: int
    job_id: int
    epoch: int
    agent: str
    expires_at_seconds: float


class Leases:
    """``clock``: monotonic seconds, so that a step of the wall clock ends no lease."""

    def __init__(self, ttl_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.ttl_seconds = ttl_seconds
        self._clock = clock
        self._open: dict[int, OpenLease] = {}

    def open(self, attempt_id: int, job_id: int, epoch: int, agent: str) -> None:
        self._open[attempt_id] = OpenLease(attempt_id, job_id, epoch, agent, self._clock() + self.ttl_seconds)

    def get(self, attempt_id: int) -> OpenLease | None:
        return self._open.get(attempt_id)

    def close(self, attempt_id: int) -> None:
        self._open.pop(attempt_id, None)

    def find(self, job_id: int, epoch: int) -> OpenLease | None:
        return next((lease for lease in self._open.values() if (lease.job_id, lease.epoch) == (job_id, epoch)), None)

    def held_by(self, agent: str) -> dict[int, float]:
        """What an agent should run: {attempt id: seconds it may go on without hearing from the head}."""
        return {lease.attempt_id: self.ttl_seconds for lease in self._open.values() if lease.agent == agent}

    def renew(self, attempt_ids: Iterable[int]) -> None:
        for attempt_id in attempt_ids:
            if lease := self._open.get(attempt_id):
                lease.expires_at_seconds = self._clock() + self.ttl_seconds

    def expired(self) -> list[OpenLease]:
        now = self._clock()
        return [lease for lease in self._open.values() if lease.expires_at_seconds < now]
