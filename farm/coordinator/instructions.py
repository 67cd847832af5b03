"""What the state machine asks for: to be written down together, and to be done after that."""

from __future__ import annotations

from dataclasses import dataclass

from farm.types import BuildState, CheckStep, DeviceHealth, DeviceState, Failure, JobState, RunState


@dataclass(frozen=True)
class StartBuild:
    key: str


@dataclass(frozen=True)
class SetBuild:
    key: str
    state: BuildState
    runs: frozenset[int]  # that wait for it
    failure: Failure | None = None


@dataclass(frozen=True)
class StartAttempt:
    job_id: int
    device_id: str
    epoch: int


@dataclass(frozen=True)
class WithdrawAttempt:
    """The agent is to end it; the head no longer renews its lease."""

    job_id: int
    epoch: int


@dataclass(frozen=True)
class SetJob:
    job_id: int
    state: JobState
    epoch: int
    reason: str = ""
    failure: Failure | None = None


@dataclass(frozen=True)
class MoveJobs:
    """To another device that they may choose."""

    job_ids: tuple[int, ...]
    device_id: str


@dataclass(frozen=True)
class CheckDevice:
    """``looping``: it may well wait a moment, for another one follows."""

    device_id: str
    step: CheckStep
    looping: bool = False


@dataclass(frozen=True)
class SetDevice:
    id: str
    state: DeviceState
    health: DeviceHealth
    health_reason: str
    failures: int
    maintenance: str | None


@dataclass(frozen=True)
class EndRun:
    run_id: int
    state: RunState


Instruction = (
    StartBuild | SetBuild | StartAttempt | WithdrawAttempt | SetJob | MoveJobs | CheckDevice | SetDevice | EndRun
)
