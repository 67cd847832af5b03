"""The leases that are out: which attempt holds a device through which agent, and until when."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass
class OpenLease:
    attempt_id: int
    job_id: int
    epoch: int
    agent: str
    since_seconds: float
    expires_at_seconds: float


class Leases:
    """``clock``: monotonic seconds, so that a step of the wall clock ends no lease."""

    def __init__(self, ttl_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.ttl_seconds = ttl_seconds
        self._clock = clock
        self._open: dict[int, OpenLease] = {}
        self._of_job: dict[tuple[int, int], OpenLease] = {}  # job and epoch
        self._of_agent: defaultdict[str, dict[int, OpenLease]] = defaultdict(dict)

    def open(self, attempt_id: int, job_id: int, epoch: int, agent: str) -> None:
        now = self._clock()
        lease = OpenLease(attempt_id, job_id, epoch, agent, now, now + self.ttl_seconds)
        self._open[attempt_id] = self._of_job[job_id, epoch] = self._of_agent[agent][attempt_id] = lease

    def get(self, attempt_id: int) -> OpenLease | None:
        return self._open.get(attempt_id)

    def close(self, attempt_id: int) -> None:
        lease = self._open.pop(attempt_id, None)
        if lease is not None:
            del self._of_job[lease.job_id, lease.epoch]
            del self._of_agent[lease.agent][attempt_id]

    def find(self, job_id: int, epoch: int) -> OpenLease | None:
        return self._of_job.get((job_id, epoch))

    def held_by(self, agent: str) -> dict[int, float]:
        """What an agent should run: {attempt id: seconds it may go on without hearing from the head}."""
        return dict.fromkeys(self._of_agent[agent], self.ttl_seconds)

    def held_seconds(self, job_id: int, epoch: int) -> float:
        """For how long; 0 for a lease that is not out any more."""
        lease = self.find(job_id, epoch)
        return self._clock() - lease.since_seconds if lease else 0.0

    def renew(self, attempt_ids: Iterable[int], agent: str) -> list[int]:
        """Those that the agent runs. Returns those that it holds no lease of (any more): they are not renewed."""
        refused = []
        held, expires_at_seconds = self._of_agent[agent], self._clock() + self.ttl_seconds
        for attempt_id in attempt_ids:
            if lease := held.get(attempt_id):
                lease.expires_at_seconds = expires_at_seconds
            else:
                refused.append(attempt_id)
        return refused

    def expired(self) -> list[OpenLease]:
        now = self._clock()
        return [lease for lease in self._open.values() if lease.expires_at_seconds < now]
