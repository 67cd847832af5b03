"""What may start now, kept up to date event by event. Pure: no I/O, no clock.

An event marks the devices that it touches as stale; only these are looked at, so its cost does not grow with the farm.
Every job waits for one device here; ``placement.py`` moves those that may choose, and leaves the choice to chance.

A machine that builds does not measure: its own devices would report the build's load. Builds go first there, because a
job cannot start without its artifact; but after ``BUILDS_IN_A_ROW`` that jobs of that machine's devices had to wait
for, each of these devices gets a turn. The devices of other machines are not held up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial
from heapq import heapify, heappop, heappush
from operator import ne

from farm.coordinator.queue import AGES_AFTER, LEVELS, Entry, Turn
from farm.coordinator.views import BuildView, DeviceView, JobView
from farm.types import BuildState

BUILDS_IN_A_ROW = 16


class Scheduler:
    """``devices_per_user``: how many a user may have leased at a time; None is no limit."""

    def __init__(self, build_host: str, build_slots: int, devices_per_user: int | None) -> None:
        self.build_host = build_host
        self.build_slots = build_slots
        self.devices_per_user = devices_per_user
        self.leased_by: Counter[str] = Counter()  # user -> devices
        self.pending: dict[str, BuildView] = {}
        self.building: dict[str, BuildView] = {}
        self._builds: list[tuple[tuple[int, int], str]] = []  # heap; an entry that is no longer true is skipped
        self._started: Counter[str] = Counter()  # user -> attempts so far
        self.stale: dict[str, DeviceView] = {}  # touched since attempts were started last
        # Devices of the build host: those that measure, and those that could if it did not build.
        self._measuring: set[str] = set()
        self._waiting: dict[str, DeviceView] = {}
        self._builds_in_a_row = 0
        self._was_open = True
        # Idle devices whose jobs all belong to users at their quota: user -> heap of (turn, device), and what is
        # still true of it.
        self._held_back: defaultdict[str, list[tuple[Turn, str]]] = defaultdict(list)
        self._held_turns: dict[tuple[str, str], tuple[Turn, DeviceView]] = {}
        self._freed: set[str] = set()

    # --- what changed ---------------------------------------------------------------------------------

    def touch(self, device: DeviceView) -> None:
        self.stale[device.id] = device

    def add(self, job: JobView, device: DeviceView) -> None:
        """It is ready for its device."""
        job.queued_at = self._started[job.user]
        device.queue.add(LEVELS[job.priority], job.user, entry(job))
        self.touch(device)

    def remove(self, job: JobView, device: DeviceView) -> None:
        device.queue.remove(LEVELS[job.priority], job.user, entry(job))
        self.touch(device)

    def lease(self, job_id: int, user: str, device: DeviceView) -> None:
        device.holders.add(job_id)
        self.leased_by[user] += 1
        self._watch_host(device)

    def release(self, job: JobView, device: DeviceView) -> None:
        if self.at_quota(job.user):
            self._freed.add(job.user)
        device.holders.discard(job.id)
        self.leased_by[job.user] -= 1
        if not self.leased_by[job.user]:
            del self.leased_by[job.user]
        self._watch_host(device)
        self.touch(device)

    def set_build(self, build: BuildView, state: BuildState) -> None:
        self.forget_build(build.key)
        build.state = state
        if state is BuildState.PENDING:
            self.pending[build.key] = build
            self._enqueue(build)
        elif state is BuildState.BUILDING:
            self.building[build.key] = build

    def want_build(self, build: BuildView, job: JobView) -> None:
        """A build keeps the best place that a job gave it, also when that job is cancelled."""
        rank = (LEVELS[job.priority], job.id)
        if build.rank is None or rank < build.rank:
            build.rank = rank
            if build.state is BuildState.PENDING:
                self._enqueue(build)

    def forget_build(self, key: str) -> None:
        self.pending.pop(key, None)
        self.building.pop(key, None)

    # --- what is so -----------------------------------------------------------------------------------

    def at_quota(self, user: str) -> bool:
        return self.devices_per_user is not None and self.leased_by[user] >= self.devices_per_user

    def may_measure(self, device: DeviceView) -> bool:
        """Whether no build is in the way of a measurement."""
        return device.host != self.build_host or self._host_is_open()

    def measuring_device(self) -> str | None:
        """A device of the build host whose measurement keeps builds from starting."""
        return min(self._measuring, default=None)

    def same_student(self, build: BuildView) -> BuildView | None:
        """The build in progress that trains what this one does."""
        same = (other for other in self.building.values() if build.student and other.student == build.student)
        return next(same, None)

    # --- what may start -------------------------------------------------------------------------------

    def builds_to_start(self) -> list[BuildView]:
        """Pending builds that fit into free slots: by priority, then the oldest job first. Of those that train the same
        student one at a time: the next finds it trained."""
        if self._measuring or (self._waiting and self._builds_in_a_row >= BUILDS_IN_A_ROW):
            return []
        chosen: list[BuildView] = []
        held_back: dict[str, BuildView] = {}
        while len(held_back) < len(self.pending) and len(self.building) < self.build_slots:
            if self._waiting and self._builds_in_a_row >= BUILDS_IN_A_ROW:
                break
            rank, key = heappop(self._builds)
            build = self.pending.get(key)
            if build is None or build.rank != rank:
                continue
            if self.same_student(build):
                held_back[key] = build
                continue
            self.set_build(build, BuildState.BUILDING)
            self._builds_in_a_row += bool(self._waiting)
            chosen.append(build)
        for build in held_back.values():
            self._enqueue(build)
        return chosen

    def attempts_to_start(self) -> list[tuple[int, DeviceView]]:
        """Jobs and their devices, which are leased to them by this. To be asked before ``builds_to_start``."""
        is_open = self._host_is_open()
        if is_open and not self._was_open:
            self.stale.update(self._waiting)
        for user in self._freed:
            self._call_back(user, is_open)
        self._freed.clear()
        heap = []
        for device in self.stale.values():
            turn = self._turn(device, is_open)
            if turn is not None:
                heap.append((turn, device.id, device))
        self.stale.clear()
        heapify(heap)
        chosen: list[tuple[int, DeviceView]] = []
        while heap:
            turn, _, device = heappop(heap)
            if self.at_quota(turn.user):  # reached since this device was looked at
                other = self._turn(device, is_open)
                if other is not None:
                    heappush(heap, (other, device.id, device))
                continue
            device.queue.take(turn, Entry(turn.run_id, turn.job_id, turn.due - turn.level * AGES_AFTER))
            self._started[turn.user] += 1
            self.lease(turn.job_id, turn.user, device)
            chosen.append((turn.job_id, device))
        if is_open:
            self._builds_in_a_row = 0
        self._was_open = is_open and self._host_is_open()
        return chosen

    def _turn(self, device: DeviceView, is_open: bool) -> Turn | None:
        self._watch_host(device)
        if not self._is_open(device, is_open):
            return None
        turn = device.queue.first(partial(self._may_not, device))
        if turn is None:
            self._hold_back(device)
        return turn

    def _is_open(self, device: DeviceView, host_is_open: bool) -> bool:
        """Whether it waits for nothing but a job that may have it."""
        if not device.in_service or device.holders or not device.queue:
            return False
        return host_is_open or device.host != self.build_host

    def _may_not(self, device: DeviceView, user: str) -> bool:
        return (device.reserved_for or user) != user or self.at_quota(user)

    # --- quotas ---------------------------------------------------------------------------------------

    def _hold_back(self, device: DeviceView) -> None:
        """Until one of the users whose jobs it has gives another device back."""
        users = device.queue.users()
        for user in users & {device.reserved_for} if device.reserved_for else users:
            turn = device.queue.first(partial(ne, user))
            if turn is not None and self._held_turns.get((user, device.id), (None,))[0] != turn:
                self._held_turns[user, device.id] = (turn, device)
                heappush(self._held_back[user], (turn, device.id))

    def _call_back(self, user: str, is_open: bool) -> None:
        """Look again at as many devices as the user may have now, those whose jobs are due first."""
        heap = self._held_back[user]
        free = (self.devices_per_user or 0) - self.leased_by[user]
        while heap and free > 0:
            turn, device_id = heappop(heap)
            held = self._held_turns.get((user, device_id))
            if held is None or held[0] != turn:
                continue
            del self._held_turns[user, device_id]
            device = held[1]
            mine = device.reserved_for in (None, user)
            if mine and self._is_open(device, is_open) and device.queue.first(partial(ne, user)) == turn:
                self.touch(device)
                free -= 1
        if not heap:
            del self._held_back[user]

    # --- the build host -------------------------------------------------------------------------------

    def _host_is_open(self) -> bool:
        """Whether its devices may start to measure."""
        return not self.building and (not self.pending or self._builds_in_a_row >= BUILDS_IN_A_ROW)

    def _watch_host(self, device: DeviceView) -> None:
        here = device.host == self.build_host
        if here and device.holders:
            self._measuring.add(device.id)
        else:
            self._measuring.discard(device.id)
        if here and device.in_service and not device.holders and device.queue:
            self._waiting[device.id] = device
        else:
            self._waiting.pop(device.id, None)

    def _enqueue(self, build: BuildView) -> None:
        if build.rank is not None:
            heappush(self._builds, (build.rank, build.key))


def entry(job: JobView) -> Entry:
    return Entry(job.run_id, job.id, job.queued_at)
