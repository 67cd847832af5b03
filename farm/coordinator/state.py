"""What the coordinator decides, as a pure state machine: events in, instructions out.

No I/O, no clock, no Ray. The same events in the same order give the same instructions, so every race is
a unit test. ``scheduler.py`` says what may start; this module says what follows from what happened.

Jobs whose builds have ended stand in line to become ready, or to fail, and those of a cancelled run to be cancelled:
one event moves at most ``portion`` of them, so that a run of 10,000 jobs holds nobody up. The store has them as they
were until it is their turn, so a new coordinator goes on with them.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from random import Random

from farm.coordinator.events import (
    AttemptEnded,
    AttemptStarted,
    BuildEnded,
    BuildSlotsChanged,
    CancelRequested,
    Continued,
    DeviceOrdered,
    DeviceReleased,
    Event,
    RunAdded,
)
from farm.coordinator.fleet import Fleet
from farm.coordinator.instructions import (
    EndRun,
    Instruction,
    MoveJobs,
    SetBuild,
    SetJob,
    StartAttempt,
    StartBuild,
    WithdrawAttempt,
)
from farm.coordinator.placement import Placement, Slot
from farm.coordinator.scheduler import Scheduler
from farm.coordinator.views import ON_DEVICE, BuildView, DeviceView, JobView
from farm.errors import NoBuilderError
from farm.types import BuildState, DeviceHealth, Failure, JobState, RunState

MAX_ATTEMPTS = 5  # of a job or build whose failures were the infrastructure's
PORTION = 200  # jobs: some 0.1 s, most of it the database's


class FarmState:
    """``build_host``: the machine that builds; its own devices do not measure while it does.
    ``devices_per_user``: how many devices a user may have leased at a time; None is no limit.
    ``rng`` chooses between devices that are equally good, so that all wear alike."""

    def __init__(
        self, build_host: str, build_slots: int, devices_per_user: int | None = None, rng: Random | None = None
    ) -> None:
        self.scheduler = Scheduler(build_host, build_slots, devices_per_user)
        self.fleet = Fleet(self.scheduler)
        self.devices = self.fleet.devices
        self.placement = Placement(rng or Random(0), self._is_idle, self._serves)  # noqa: S311 - guards nothing
        self.jobs: dict[int, JobView] = {}
        self.builds: dict[str, BuildView] = {}
        self.runs: dict[int, set[int]] = {}  # run -> jobs that are not terminal
        self.portion = PORTION
        self._line: dict[int, None] = {}  # jobs whose builds have ended, or whose run is cancelled
        self._cancelled: set[int] = set()  # runs that have not ended yet
        self._out: list[Instruction] = []

    @property
    def is_behind(self) -> bool:
        """Whether it has something to do for which it needs no event but ``Continued``."""
        return bool(self._line)

    def apply(self, event: Event) -> list[Instruction]:
        """Take in one event; what is to be done, in order. An event about the past changes nothing."""
        self._out = []
        match event:
            case RunAdded():
                self._add_run(event)
                self._advance_line()
            case CancelRequested(run_id):
                self._cancel(run_id)
                self._advance_line()
            case BuildSlotsChanged(slots):
                self.scheduler.build_slots = slots
            case BuildEnded(key, failure):
                self._end_build(key, failure)
                self._advance_line()
            case Continued():
                self._advance_line()
            case DeviceOrdered(id, "maintain"):
                self.fleet.apply(event)
                self._interrupt(self.devices[id])
            case AttemptStarted() | DeviceReleased() | AttemptEnded():
                if job := self._current(event.job_id, event.epoch, *ON_DEVICE):
                    self._go_on_with(job, event)
            case _:
                self.fleet.apply(event)
        self.fleet.check_where_due()
        self._schedule()
        self._out += self.fleet.instructions()
        return self._out

    def attempt_is_current(self, job_id: int, epoch: int) -> bool:
        """Whether a result of this attempt still counts (the fencing check)."""
        return self._current(job_id, epoch, *ON_DEVICE) is not None

    # --- runs -----------------------------------------------------------------------------------------

    def _add_run(self, event: RunAdded) -> None:
        if event.run_id in self.runs:
            return
        needed = {key for job in event.jobs if not job.state.terminal for key in job.needs}
        for build in event.builds:
            if build.key not in needed:
                continue  # after a restart: only jobs that have ended wanted it
            known = self.builds.get(build.key)
            if known is None:
                # What failed before is tried again for a new run; what another coordinator's life was
                # building has died with it.
                state = BuildState.BUILT if build.state is BuildState.BUILT else BuildState.PENDING
                added = self.builds[build.key] = BuildView(build.key, student=build.student)
                self.scheduler.set_build(added, state)
                if state is not build.state:
                    self._out.append(SetBuild(build.key, state, frozenset({event.run_id})))
            elif known.failure:  # just now: not all of its jobs have heard of it yet
                self._out.append(SetBuild(build.key, known.state, frozenset({event.run_id}), known.failure))
        self.runs[event.run_id] = {job.id for job in event.jobs if not job.state.terminal}
        choosing: defaultdict[int, list[JobView]] = defaultdict(list)
        for job in event.jobs:
            if job.pool is not None:
                choosing[job.pool].append(job)
        for number, jobs in choosing.items():
            self.placement.add(event.run_id, number, event.pools[number], jobs)
        for job in event.jobs:
            if not job.state.terminal:
                self._add_job(job)
        self._end_run_if_done(event.run_id)

    def _add_job(self, job: JobView) -> None:
        self.jobs[job.id] = job
        for key in job.needs:
            build = self.builds[key]
            build.jobs.setdefault(job.run_id, set()).add(job.id)
            self.scheduler.want_build(build, job)
        device = self.fleet[job.device_id]
        if job.state in ON_DEVICE:
            self.scheduler.lease(job.id, job.user, device)
            self.fleet.note(device)
        elif job.state is JobState.QUEUED:
            self._line_up(job)
        else:
            self._stand_in_line(job)

    def _cancel(self, run_id: int) -> None:
        if run_id in self.runs:
            self._cancelled.add(run_id)
            self._line |= dict.fromkeys(sorted(self.runs[run_id]))

    def _cancel_job(self, job: JobView) -> None:
        if job.state in ON_DEVICE:
            self._out.append(WithdrawAttempt(job.id, job.epoch))
            self._release(job)
        elif job.state is JobState.QUEUED:
            self.scheduler.remove(job, self.devices[job.device_id])
        self._set_job(job, JobState.CANCELLED, "its run was cancelled")

    def _end_run_if_done(self, run_id: int) -> None:
        if run_id in self.runs and not self.runs[run_id]:
            del self.runs[run_id]
            state = RunState.CANCELLED if run_id in self._cancelled else RunState.FINISHED
            self._cancelled.discard(run_id)
            self._out.append(EndRun(run_id, state))

    # --- the line -------------------------------------------------------------------------------------

    def _stand_in_line(self, job: JobView) -> None:
        states = {self.builds[key].state for key in job.needs}
        if BuildState.FAILED in states or states == {BuildState.BUILT}:
            self._line[job.id] = None

    def _advance_line(self) -> None:
        for job_id in list(islice(self._line, self.portion)):
            del self._line[job_id]
            job = self.jobs[job_id]
            if job.run_id in self._cancelled:
                self._cancel_job(job)
            elif failure := next((one for key in sorted(job.needs) if (one := self.builds[key].failure)), None):
                self._set_job(job, JobState.FAILED, "its artifact could not be built", failure)
            else:
                self._queue(job)

    # --- builds ---------------------------------------------------------------------------------------

    def _end_build(self, key: str, failure: Failure | None) -> None:
        build = self.builds.get(key)
        if build is None or build.state is not BuildState.BUILDING:
            return
        if failure and _may_pass(failure) and build.attempts < MAX_ATTEMPTS:
            state = BuildState.PENDING
        else:
            state = BuildState.FAILED if failure else BuildState.BUILT
        self.scheduler.set_build(build, state)
        self._out.append(SetBuild(key, state, frozenset(build.jobs), failure))
        if state is not BuildState.PENDING:
            build.failure = failure
            for job_id in sorted(job_id for job_ids in build.jobs.values() for job_id in job_ids):
                job = self.jobs[job_id]
                if job.state is JobState.WAITING:
                    self._stand_in_line(job)
        if not build.jobs:
            self._forget_build(key)

    def _drop_from_build(self, key: str, job: JobView) -> None:
        """Forget builds that nobody waits for; one in progress is still awaited."""
        build = self.builds[key]
        build.jobs[job.run_id].discard(job.id)
        if not build.jobs[job.run_id]:
            del build.jobs[job.run_id]
        if not build.jobs and build.state is not BuildState.BUILDING:
            self._forget_build(key)

    def _forget_build(self, key: str) -> None:
        if key in self.builds:
            self.scheduler.forget_build(key)
            del self.builds[key]

    # --- attempts -------------------------------------------------------------------------------------

    def _go_on_with(self, job: JobView, event: AttemptStarted | DeviceReleased | AttemptEnded) -> None:
        match event:
            case AttemptStarted():
                if job.state is JobState.LEASED:
                    self._set_job(job, JobState.RUNNING)
            case DeviceReleased():
                if job.id in self.devices[job.device_id].holders:
                    self.fleet.succeed(self.devices[job.device_id])
                    self._release(job)
            case AttemptEnded():
                self._end_attempt(job, event.failure)

    def _end_attempt(self, job: JobView, failure: Failure | None) -> None:
        device = self.devices[job.device_id]
        if job.id in device.holders:  # else it has measured long ago, and what failed then is not the device's
            if failure is None:
                self.fleet.succeed(device)
            elif failure.fault in ("infrastructure", "device"):
                self.fleet.fail(device, failure)
        self._release(job)
        if failure is None:
            self._set_job(job, JobState.FINISHED)
        elif _may_pass(failure) and job.epoch < MAX_ATTEMPTS:
            self._queue(job, f"tried again after: {failure.message}")
            self.placement.fail(job)
        else:
            self._set_job(job, JobState.FAILED, failure.message, failure)

    def _interrupt(self, device: DeviceView) -> None:
        """A person takes it at once: what runs there is withdrawn, and tried again."""
        for job in [self.jobs[job_id] for job_id in sorted(device.holders)]:
            self._out.append(WithdrawAttempt(job.id, job.epoch))
            self._release(job)
            self._queue(job, f"{device.id} was taken out of service: {device.maintenance}")
            self.placement.fail(job)

    def _release(self, job: JobView) -> None:
        device = self.devices[job.device_id]
        if job.id in device.holders:
            if self.scheduler.at_quota(job.user):
                self.placement.free_quota(job.user)
            self.scheduler.release(job, device)
            self.fleet.note(device)

    def _current(self, job_id: int, epoch: int, *states: JobState) -> JobView | None:
        job = self.jobs.get(job_id)
        return job if job and job.epoch == epoch and job.state in states else None

    def _queue(self, job: JobView, reason: str = "") -> None:
        self._set_job(job, JobState.QUEUED, reason)
        self._line_up(job)

    def _line_up(self, job: JobView) -> None:
        self.scheduler.add(job, self.devices[job.device_id])
        self.placement.queue(job)

    def _set_job(self, job: JobView, state: JobState, reason: str = "", failure: Failure | None = None) -> None:
        job.state = state
        self._out.append(SetJob(job.id, state, job.epoch, reason, failure))
        if state.terminal:
            del self.jobs[job.id]
            self._line.pop(job.id, None)
            self.placement.end(job)
            for key in job.needs:
                self._drop_from_build(key, job)
            if job.run_id in self.runs:
                self.runs[job.run_id].discard(job.id)
                self._end_run_if_done(job.run_id)

    # --- what may start now ---------------------------------------------------------------------------

    def _schedule(self) -> None:
        self._start_attempts()
        while move := self.placement.next_move(self.scheduler.at_quota):
            slot, left = move
            self._move(slot, self.devices[left])
            self._start_attempts()
        for build in self.scheduler.builds_to_start():
            build.attempts += 1
            runs = frozenset(build.jobs)
            self._out += [SetBuild(build.key, BuildState.BUILDING, runs), StartBuild(build.key)]

    def _start_attempts(self) -> None:
        touched = dict(self.scheduler.stale)
        for job_id, device in self.scheduler.attempts_to_start():
            touched[device.id] = device
            job = self.jobs[job_id]
            job.epoch += 1
            self._set_job(job, JobState.LEASED)
            self.placement.start(job)
            self.fleet.note(device)
            self._out.append(StartAttempt(job.id, device.id, job.epoch))
        for device in touched.values():
            lost = device.health is DeviceHealth.BAD or device.maintenance is not None
            self.placement.note(device.id, lost=lost)

    def _move(self, slot: Slot, left: DeviceView) -> None:
        for job_id in sorted(slot.jobs):
            job = self.jobs[job_id]
            if job_id in slot.ready:
                self.scheduler.remove(job, left)
            job.device_id = slot.device_id
            if job_id in slot.ready:
                self.scheduler.add(job, self.fleet[slot.device_id])
        self._out.append(MoveJobs(tuple(sorted(slot.jobs)), slot.device_id))

    def _is_idle(self, device_id: str) -> bool:
        return device_id in self.devices and self.devices[device_id].idle

    def _serves(self, device_id: str, user: str) -> bool:
        """Whether it will take that user's jobs in turn, without anything else having to end first."""
        device = self.devices[device_id]
        return device.in_service and not device.holders and device.reserved_for in (None, user)


def _may_pass(failure: Failure) -> bool:
    """Whether another try may do better: not where recipe, model or device failed it."""
    return failure.fault == "infrastructure" and failure.code != NoBuilderError.code
