"""The scheduler once more, as plainly as possible: looks at everything, remembers only what fairness needs.

It is shown what an event came to (the instructions), takes back what was started, and says from a scan of all jobs,
builds and devices what should have been started.
"""

from __future__ import annotations

from collections import Counter

from farm.coordinator.instructions import Instruction, SetJob, StartAttempt, StartBuild
from farm.coordinator.queue import AGES_AFTER, LEVELS, TOGETHER
from farm.coordinator.scheduler import BUILDS_IN_A_ROW
from farm.coordinator.state import FarmState
from farm.coordinator.views import JobView
from farm.types import BuildState, JobState


class Share:
    """What is remembered of one priority at one device."""

    def __init__(self) -> None:
        self.passes: dict[str, int] = {}
        self.tie: dict[str, int] = {}
        self.last: tuple[str, int] | None = None
        self.streak = self.passed_over = 0


class Reference:
    def __init__(self, state: FarmState) -> None:
        self.state = state
        self.shares: dict[tuple[str, int], Share] = {}
        self.ready: dict[int, JobView] = {}
        self.builds_in_a_row = self.held_back = 0

    def expect(self, out: list[Instruction]) -> tuple[list[tuple[int, str]], list[str]]:
        """(job, device) and builds that should be started by this event, in order."""
        started = {one.job_id for one in out if isinstance(one, StartAttempt)}
        self.take_in(out)
        holding = {job for device in self.state.devices.values() for job in device.holders} - started
        self.leased = {
            device.id: {job for job in device.holders if job in holding} for device in self.state.devices.values()
        }
        self.users = Counter(self.state.jobs[job].user for job in holding)
        keys = {one.key for one in out if isinstance(one, StartBuild)}
        self.building = {b.key for b in self.state.builds.values() if b.state is BuildState.BUILDING} - keys
        self.pending = {b.key for b in self.state.builds.values() if b.state is BuildState.PENDING} | keys
        return self.attempts(), self.builds()

    def take_in(self, out: list[Instruction]) -> None:
        """Jobs that became ready, in the order in which they did, and those that are gone."""
        for one in out:
            if isinstance(one, SetJob) and one.state is JobState.QUEUED:
                job = self.state.jobs[one.job_id]
                share = self.shares.setdefault((job.device_id, LEVELS[job.priority]), Share())
                others = self.at(job.device_id, LEVELS[job.priority])
                if job.user not in {other.user for other in others}:
                    lowest = min((share.passes[other.user] for other in others), default=0)
                    share.passes[job.user] = max(share.passes.get(job.user, 0), lowest)
                    share.tie[job.user] = job.id
                self.ready[job.id] = job
            elif isinstance(one, SetJob) and one.state.terminal and one.job_id in self.ready:
                self.drop(self.ready[one.job_id])

    def at(self, device: str, level: int) -> list[JobView]:
        return [job for job in self.ready.values() if (job.device_id, LEVELS[job.priority]) == (device, level)]

    def drop(self, job: JobView) -> None:
        del self.ready[job.id]
        if not self.at(job.device_id, LEVELS[job.priority]):
            del self.shares[job.device_id, LEVELS[job.priority]]

    def at_quota(self, user: str) -> bool:
        most = self.state.scheduler.devices_per_user
        return most is not None and self.users[user] >= most

    def next_of(self, device: str) -> tuple[int, JobView] | None:
        """The job that this device should go on with, and its level."""
        levels = sorted(level for (id, level) in self.shares if id == device)
        starved = [level for level in levels if self.shares[device, level].passed_over >= AGES_AFTER]
        for level in starved[::-1] + levels:
            owner = self.state.devices[device].reserved_for
            jobs = [job for job in self.at(device, level) if owner in (None, job.user) and not self.at_quota(job.user)]
            if not jobs:
                continue
            share = self.shares[device, level]
            same = [job for job in jobs if (job.user, job.run_id) == share.last]
            if same and share.streak < TOGETHER:
                return level, min(same, key=lambda job: job.id)
            user = min((share.passes[job.user], share.tie[job.user], job.user) for job in jobs)[2]
            return level, min((job for job in jobs if job.user == user), key=lambda job: (job.run_id, job.id))
        return None

    def attempts(self) -> list[tuple[int, str]]:
        chosen: list[tuple[int, str]] = []
        host = self.state.scheduler.build_host
        is_open = not self.building and (not self.pending or self.builds_in_a_row >= BUILDS_IN_A_ROW)
        while True:
            found = []
            for device in self.state.devices.values():
                blocked = device.host == host and not is_open
                if (
                    device.in_service
                    and not self.leased[device.id]
                    and not blocked
                    and (best := self.next_of(device.id))
                ):
                    found.append((best[1].queued_at + best[0] * AGES_AFTER, best[1].id, best))
            if not found:
                break
            level, job = min(found)[2]
            self.start(level, job)
            chosen.append((job.id, job.device_id))
        if is_open:
            self.builds_in_a_row = 0
        return chosen

    def start(self, level: int, job: JobView) -> None:
        share = self.shares[job.device_id, level]
        together = share.last == (job.user, job.run_id) and share.streak < TOGETHER
        share.last, share.streak = (job.user, job.run_id), share.streak + 1 if together else 1
        share.passes[job.user] += 1
        for (device, other), below in self.shares.items():
            if device == job.device_id and other > level:
                below.passed_over += 1
        share.passed_over = 0
        self.drop(job)
        rest = [one.id for one in self.at(job.device_id, level) if one.user == job.user]
        if rest:
            share.tie[job.user] = min(
                (one.run_id, one.id) for one in self.at(job.device_id, level) if one.user == job.user
            )[1]
        self.leased[job.device_id].add(job.id)
        self.users[job.user] += 1

    def builds(self) -> list[str]:
        here = [device for device in self.state.devices.values() if device.host == self.state.scheduler.build_host]
        if any(self.leased[device.id] for device in here):
            return []
        waiting = any(
            device.in_service and any(job.device_id == device.id for job in self.ready.values()) for device in here
        )
        chosen: list[str] = []
        for key in sorted(self.pending, key=lambda key: (self.state.builds[key].rank, key)):
            turn_over = waiting and self.builds_in_a_row >= BUILDS_IN_A_ROW
            student = self.state.builds[key].student
            if student and student in {self.state.builds[other].student for other in {*self.building, *chosen}}:
                self.held_back += 1
                continue
            if turn_over or len(self.building) + len(chosen) >= self.state.scheduler.build_slots:
                break
            chosen.append(key)
            self.builds_in_a_row += waiting
        return chosen
