"""What can happen to the farm, as the state machine hears of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from farm.coordinator.views import BuildView, JobView
from farm.types import DeviceHealth, Failure, OrderKind, RecoveryStep


@dataclass(frozen=True)
class RunAdded:
    """``pools``: candidates by number, for jobs that may choose."""

    run_id: int
    jobs: tuple[JobView, ...]
    builds: tuple[BuildView, ...]
    pools: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class CancelRequested:
    run_id: int


@dataclass(frozen=True)
class BuildSlotsChanged:
    """So many builds fit into the cluster at a time now."""

    slots: int


@dataclass(frozen=True)
class BuildEnded:
    key: str
    failure: Failure | None = None


@dataclass(frozen=True)
class Continued:
    """To be said while ``FarmState.is_behind``: what an earlier event has left to do goes on."""


@dataclass(frozen=True)
class DeviceRemembered:
    """How a former coordinator left it."""

    id: str
    health: DeviceHealth
    health_reason: str
    failures: int
    maintenance: str | None


@dataclass(frozen=True)
class DeviceSeen:
    id: str
    agent: str
    host: str
    blocked: str = ""
    recovery: tuple[RecoveryStep, ...] = ()


@dataclass(frozen=True)
class DeviceLost:
    id: str


@dataclass(frozen=True)
class DeviceChecked:
    id: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class DeviceFailed:
    """Something around an attempt went wrong that is not the attempt's."""

    id: str
    failure: Failure


@dataclass(frozen=True)
class DeviceBlocked:
    """Its agent lets nothing start on it for now; ``DeviceSeen`` says when that is over."""

    id: str
    reason: str


@dataclass(frozen=True)
class DeviceOrdered:
    id: str
    kind: OrderKind
    reason: str = ""


@dataclass(frozen=True)
class DeviceReserved:
    """``user`` None: nobody has it reserved any more."""

    id: str
    user: str | None


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


DeviceEvent = (
    DeviceRemembered
    | DeviceSeen
    | DeviceLost
    | DeviceChecked
    | DeviceFailed
    | DeviceBlocked
    | DeviceOrdered
    | DeviceReserved
    | AgentLost
)
JobEvent = (
    RunAdded
    | CancelRequested
    | BuildSlotsChanged
    | BuildEnded
    | Continued
    | AttemptStarted
    | DeviceReleased
    | AttemptEnded
)
Event = JobEvent | DeviceEvent
