"""What the coordinator knows and decides, as a pure state machine: events in, instructions out.

No I/O, no clock, no Ray. The same events in the same order give the same instructions, so every race is
a unit test. ``scheduler.py`` says what may start; this module says what follows from what happened.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from farm.coordinator import scheduler
from farm.types import BuildState, Failure, JobState, RunState

MAX_ATTEMPTS = 3  # of a job or build whose failures were the infrastructure's
_ON_DEVICE = (JobState.LEASED, JobState.RUNNING)


# --- what is known -----------------------------------------------------------------------------------


@dataclass
class JobView:
    id: int
    run_id: int
    device_id: str
    needs: frozenset[str]  # keys of builds
    state: JobState = JobState.WAITING
    epoch: int = 0


@dataclass
class BuildView:
    key: str
    state: BuildState = BuildState.PENDING
    attempts: int = 0
    jobs: set[int] = field(default_factory=set)


@dataclass
class DeviceView:
    id: str
    agent: str
    host: str
    online: bool = True
    holder: int | None = None  # job


# --- events ------------------------------------------------------------------------------------------


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


# --- instructions ------------------------------------------------------------------------------------


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
class SetDevice:
    id: str
    online: bool
    leased: bool


@dataclass(frozen=True)
class EndRun:
    run_id: int
    state: RunState


Instruction = StartBuild | SetBuild | StartAttempt | WithdrawAttempt | SetJob | SetDevice | EndRun


class FarmState:
    """``build_host``: the machine that builds; its own devices do not measure while it does."""

    def __init__(self, build_host: str, build_slots: int) -> None:
        self.build_host = build_host
        self.build_slots = build_slots
        self.jobs: dict[int, JobView] = {}
        self.builds: dict[str, BuildView] = {}
        self.devices: dict[str, DeviceView] = {}
        self.runs: dict[int, set[int]] = {}  # run -> jobs that are not terminal
        self._out: list[Instruction] = []

    def apply(self, event: Event) -> list[Instruction]:
        """Take in one event; what is to be done, in order. An event about the past changes nothing."""
        self._out = []
        match event:
            case RunAdded():
                self._add_run(event)
            case CancelRequested(run_id):
                self._cancel(run_id)
            case BuildEnded(key, failure):
                self._end_build(key, failure)
            case DeviceSeen(id, agent, host):
                self._see_device(id, agent, host)
            case AgentLost(agent):
                self._lose_agent(agent)
            case AttemptStarted(job_id, epoch):
                if job := self._current(job_id, epoch, JobState.LEASED):
                    self._set_job(job, JobState.RUNNING)
            case DeviceReleased(job_id, epoch):
                if job := self._current(job_id, epoch, *_ON_DEVICE):
                    self._release(job)
            case AttemptEnded(job_id, epoch, failure):
                if job := self._current(job_id, epoch, *_ON_DEVICE):
                    self._end_attempt(job, failure)
        self._schedule()
        return self._out

    def attempt_is_current(self, job_id: int, epoch: int) -> bool:
        """Whether a result of this attempt still counts (the fencing check)."""
        return self._current(job_id, epoch, *_ON_DEVICE) is not None

    # --- runs -----------------------------------------------------------------------------------------

    def _add_run(self, event: RunAdded) -> None:
        if event.run_id in self.runs:
            return
        for build in event.builds:
            known = self.builds.get(build.key)
            if known is None or known.state is BuildState.FAILED:
                # What failed before is tried again for a new run; what another coordinator's life was
                # building has died with it.
                state = BuildState.BUILT if build.state is BuildState.BUILT else BuildState.PENDING
                self.builds[build.key] = BuildView(build.key, state)
                if state is not build.state:
                    self._out.append(SetBuild(build.key, state, frozenset({event.run_id})))
        self.runs[event.run_id] = {job.id for job in event.jobs if not job.state.terminal}
        for job in event.jobs:
            if job.state.terminal:
                continue
            self.jobs[job.id] = job
            for key in job.needs:
                self.builds[key].jobs.add(job.id)
            if job.state in _ON_DEVICE and (device := self.devices.get(job.device_id)):
                device.holder = job.id
            if job.state is JobState.WAITING:
                self._advance_waiting(job)
        self._end_run_if_done(event.run_id)

    def _cancel(self, run_id: int) -> None:
        job_ids = self.runs.pop(run_id, None)
        if job_ids is None:
            return
        for job_id in sorted(job_ids):
            job = self.jobs[job_id]
            if job.state in _ON_DEVICE:
                self._out.append(WithdrawAttempt(job.id, job.epoch))
                self._release(job)
            self._set_job(job, JobState.CANCELLED, "its run was cancelled")
        self._out.append(EndRun(run_id, RunState.CANCELLED))

    def _end_run_if_done(self, run_id: int) -> None:
        if run_id in self.runs and not self.runs[run_id]:
            del self.runs[run_id]
            self._out.append(EndRun(run_id, RunState.FINISHED))

    # --- builds ---------------------------------------------------------------------------------------

    def _end_build(self, key: str, failure: Failure | None) -> None:
        build = self.builds.get(key)
        if build is None or build.state is not BuildState.BUILDING:
            return
        if failure and failure.fault == "infrastructure" and build.attempts < MAX_ATTEMPTS:
            build.state = BuildState.PENDING
        else:
            build.state = BuildState.FAILED if failure else BuildState.BUILT
        self._out.append(SetBuild(key, build.state, self._runs_of(build), failure))
        for job_id in sorted(build.jobs):
            job = self.jobs.get(job_id)
            if job and job.state is JobState.WAITING and build.state is not BuildState.PENDING:
                self._advance_waiting(job, failure)
        if not build.jobs:
            self.builds.pop(key, None)

    def _advance_waiting(self, job: JobView, failure: Failure | None = None) -> None:
        states = {self.builds[key].state for key in job.needs}
        if BuildState.FAILED in states and failure:
            self._set_job(job, JobState.FAILED, "its artifact could not be built", failure)
        elif states == {BuildState.BUILT}:
            self._set_job(job, JobState.QUEUED, f"waits for {job.device_id}")

    # --- devices and attempts -------------------------------------------------------------------------

    def _see_device(self, id: str, agent: str, host: str) -> None:
        device = self.devices.get(id)
        if device is None:
            device = self.devices[id] = DeviceView(id, agent, host)
            held = (job.id for job in self.jobs.values() if job.device_id == id and job.state in _ON_DEVICE)
            device.holder = next(held, None)
        elif device.online:
            return
        device.agent, device.host, device.online = agent, host, True
        self._out.append(SetDevice(id, online=True, leased=device.holder is not None))

    def _lose_agent(self, agent: str) -> None:
        """Its devices are out of reach. Leases are not touched: only their end frees a device."""
        for device in self.devices.values():
            if device.agent == agent and device.online:
                device.online = False
                self._out.append(SetDevice(device.id, online=False, leased=device.holder is not None))

    def _end_attempt(self, job: JobView, failure: Failure | None) -> None:
        self._release(job)
        if failure is None:
            self._set_job(job, JobState.FINISHED)
        elif failure.fault == "infrastructure" and job.epoch < MAX_ATTEMPTS:
            self._set_job(job, JobState.QUEUED, f"tried again after: {failure.message}")
        else:
            self._set_job(job, JobState.FAILED, failure.message, failure)

    def _release(self, job: JobView) -> None:
        device = self.devices.get(job.device_id)
        if device and device.holder == job.id:
            device.holder = None
            self._out.append(SetDevice(device.id, online=device.online, leased=False))

    def _current(self, job_id: int, epoch: int, *states: JobState) -> JobView | None:
        job = self.jobs.get(job_id)
        return job if job and job.epoch == epoch and job.state in states else None

    def _set_job(self, job: JobView, state: JobState, reason: str = "", failure: Failure | None = None) -> None:
        job.state = state
        self._out.append(SetJob(job.id, state, job.epoch, reason, failure))
        if state.terminal:
            del self.jobs[job.id]
            for key in job.needs:
                self._drop_from_build(key, job.id)
            if job.run_id in self.runs:
                self.runs[job.run_id].discard(job.id)
                self._end_run_if_done(job.run_id)

    def _drop_from_build(self, key: str, job_id: int) -> None:
        """Forget builds that nobody waits for; one in progress is still awaited."""
        build = self.builds[key]
        build.jobs.discard(job_id)
        if not build.jobs and build.state is not BuildState.BUILDING:
            del self.builds[key]

    def _runs_of(self, build: BuildView) -> frozenset[int]:
        return frozenset(self.jobs[job_id].run_id for job_id in build.jobs)

    # --- what may start now ---------------------------------------------------------------------------

    def _schedule(self) -> None:
        for key in scheduler.builds_to_start(self):
            build = self.builds[key]
            build.state, build.attempts = BuildState.BUILDING, build.attempts + 1
            self._out += [SetBuild(key, BuildState.BUILDING, self._runs_of(build)), StartBuild(key)]
        for job, device in scheduler.attempts_to_start(self):
            job.epoch += 1
            device.holder = job.id
            self._set_job(job, JobState.LEASED)
            self._out += [SetDevice(device.id, online=True, leased=True), StartAttempt(job.id, device.id, job.epoch)]
