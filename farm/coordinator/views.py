"""What the coordinator knows of jobs, builds and devices."""

from __future__ import annotations

from dataclasses import dataclass, field

from farm.coordinator.queue import DeviceQueue
from farm.types import BuildState, JobState, Priority

ON_DEVICE = (JobState.LEASED, JobState.RUNNING)


@dataclass(slots=True)
class JobView:
    id: int
    run_id: int
    user: str
    device_id: str
    needs: frozenset[str]  # keys of builds
    priority: Priority = "normal"
    state: JobState = JobState.WAITING
    epoch: int = 0
    queued_at: int = 0  # attempts that its user had started when it was queued


@dataclass(slots=True)
class BuildView:
    key: str
    state: BuildState = BuildState.PENDING
    attempts: int = 0
    jobs: dict[int, set[int]] = field(default_factory=dict)  # of those that need it and have not ended: run -> jobs
    rank: tuple[int, int] | None = None  # the best (level, job id) that asked for it


@dataclass(slots=True)
class DeviceView:
    """``holders``: jobs that have it leased. One at a time, but for what a restart found: a device that was released
    while a result was worked out may have been leased again, and the store does not say which of the two it was."""

    id: str
    agent: str = ""  # until an agent is heard of
    host: str = ""
    online: bool = False
    holders: set[int] = field(default_factory=set)
    queue: DeviceQueue = field(default_factory=DeviceQueue)

    @property
    def leased(self) -> bool:
        return bool(self.holders)
