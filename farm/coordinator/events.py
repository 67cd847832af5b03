"""What can happen to the farm, as the state machine hears of it."""

from __future__ import annotations

from dataclasses import dataclass

from farm.coordinator.views import BuildView, JobView
from farm.types import Failure


@dataclass(frozen=True)
class RunAdded:
    run_id: int
    jobs: tuple[JobView, ...]
    builds: tuple[BuildView, ...]


@dataclass(frozen=True)
class CancelRequested:
    run_id: int


@dataclass(frozen=True)
class BuildEnded:
    key: str
    failure: Failure | None = None


@dataclass(frozen=True)
class DeviceSeen:
    id: str
    agent: str
    host: str


@dataclass(frozen=True)
class AgentLost:
    agent: str


@dataclass(frozen=True)
class AttemptStarted:
    job_id: int
    epoch: int


@dataclass(frozen=True)
class DeviceReleased:
    """The device has measured; its result is still being worked out."""

    job_id: int
    epoch: int


@dataclass(frozen=True)
class AttemptEnded:
    """The attempt's result is worked out (``failure`` is None), or it failed, or its lease ran out."""

    job_id: int
    epoch: int
    failure: Failure | None = None


Event = (
    RunAdded | CancelRequested | BuildEnded | DeviceSeen | AgentLost | AttemptStarted | DeviceReleased | AttemptEnded
)
