"""What the coordinator knows of jobs, builds and devices."""

from __future__ import annotations

from dataclasses import dataclass, field

from farm.coordinator.queue import DeviceQueue
from farm.types import BuildState, DeviceHealth, DeviceState, Failure, JobState, Priority, RecoveryStep

ON_DEVICE = (JobState.LEASED, JobState.RUNNING)


@dataclass(slots=True)
class JobView:
    """``pool``, ``slot``: as in ``farm.types.Job``."""

    id: int
    run_id: int
    user: str
    device_id: str
    needs: frozenset[str]  # keys of builds
    priority: Priority = "normal"
    state: JobState = JobState.WAITING
    epoch: int = 0
    queued_at: int = 0  # attempts that its user had started when it was queued
    pool: int | None = None
    slot: int = 0


@dataclass(slots=True)
class BuildView:
    key: str
    state: BuildState = BuildState.PENDING
    attempts: int = 0
    failure: Failure | None = None  # for jobs that have not heard of it yet
    jobs: dict[int, set[int]] = field(default_factory=dict)  # of those that need it and have not ended: run -> jobs
    rank: tuple[int, int] | None = None  # the best (level, job id) that asked for it
    student: str = ""  # what it trains first, if it trains: other builds can take that from it


@dataclass(slots=True)
class DeviceView:
    """``holders``: jobs that have it leased. One at a time, but for what a restart found: a device that was released
    while a result was worked out may have been leased again, and the store does not say which of the two it was."""

    id: str
    agent: str = ""  # until an agent is heard of
    host: str = ""
    online: bool = False
    blocked: str = ""  # why its agent lets nothing start on it now
    recovery: tuple[RecoveryStep, ...] = ()
    health: DeviceHealth = DeviceHealth.UNKNOWN
    health_reason: str = ""
    failures: int = 0  # of the infrastructure, in a row
    rung: int = 0  # of the recovery ladder that comes before its next check
    checking: bool = False
    maintenance: str | None = None
    reserved_for: str | None = None
    holders: set[int] = field(default_factory=set)
    queue: DeviceQueue = field(default_factory=DeviceQueue)

    @property
    def leased(self) -> bool:
        return bool(self.holders)

    @property
    def in_service(self) -> bool:
        """Whether jobs may start on it once nobody holds it."""
        return self.online and self.health is DeviceHealth.GOOD and self.maintenance is None and not self.blocked

    @property
    def idle(self) -> bool:
        """Whether it could take a job of anybody at once and has none to wait for it."""
        return self.in_service and not self.holders and not self.queue and self.reserved_for is None

    @property
    def state(self) -> DeviceState:
        if self.holders:
            return DeviceState.LEASED
        if self.maintenance is not None:
            return DeviceState.MAINTENANCE
        return DeviceState.ONLINE if self.online else DeviceState.OFFLINE
