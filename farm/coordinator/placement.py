"""Jobs that may choose their device: they wait where the submission put them, and move to a device that is idle.

A pool is the devices that a run may choose from (``any(n)``, ``one per KEY``). A slot is the jobs of it that belong on
one device, so that the variants of a model stay comparable; the slots of a pool are on different devices. A slot moves
until its first attempt has started, and again after the infrastructure failed one or its device went out of service.
Which idle device it gets is left to chance, which spreads wear. Pure, part of the state machine; an event costs the
pools of the devices that it touches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from random import Random

from farm.coordinator.queue import LEVELS
from farm.coordinator.views import ON_DEVICE, JobView


class Slot:
    """``jobs``: those that have not ended; ``ready``: those of them that are queued; ``started``: those that have an
    attempt. ``settled``: one was measured on its device. ``lost``: that device is out of service for long."""

    __slots__ = ("device_id", "jobs", "lost", "pool", "ready", "settled", "started")

    def __init__(self, pool: Pool, device_id: str) -> None:
        self.pool = pool
        self.device_id = device_id
        self.jobs: set[int] = set()
        self.ready: set[int] = set()
        self.started: set[int] = set()
        self.settled = False
        self.lost = False

    @property
    def may_move(self) -> bool:
        return bool(self.ready) and not self.started and (self.lost or not self.settled)


class Pool:
    """``idle``: candidates that a slot may move to. ``waiting``: slots that may move, the longest waiting first."""

    __slots__ = ("candidates", "idle", "open_jobs", "rank", "slots", "user", "waiting")

    def __init__(self, rank: tuple[int, int, int], user: str, candidates: Iterable[str]) -> None:
        self.rank = rank
        self.user = user
        self.candidates = frozenset(candidates)
        self.slots: dict[str, Slot] = {}  # by device, ended ones among them
        self.waiting: dict[Slot, None] = {}
        self.idle = _Bag()
        self.open_jobs = 0


class Placement:
    """``is_idle``: of a device id. ``serves``: whether a device goes on with a user's jobs by itself."""

    def __init__(self, rng: Random, is_idle: Callable[[str], bool], serves: Callable[[str, str], bool]) -> None:
        self._rng, self._is_idle, self._serves = rng, is_idle, serves
        self._of_device: defaultdict[str, dict[Pool, None]] = defaultdict(dict)
        self._slots: dict[int, Slot] = {}  # by job that has not ended
        self._stale: dict[Pool, None] = {}
        self._held_back: defaultdict[str, dict[Pool, None]] = defaultdict(dict)  # by user whose quota is reached

    def add(self, run_id: int, number: int, candidates: Iterable[str], jobs: Iterable[JobView]) -> None:
        """``jobs``: all of the pool, those that have ended among them."""
        jobs = list(jobs)
        if all(job.state.terminal for job in jobs):
            return
        pool = Pool((LEVELS[jobs[0].priority], run_id, number), jobs[0].user, candidates)
        slots: dict[int, Slot] = {}
        for job in jobs:
            slot = slots.setdefault(job.slot, Slot(pool, job.device_id))
            slot.settled |= job.epoch > 0
            if not job.state.terminal:
                slot.device_id = job.device_id  # those that have ended may have been elsewhere
                slot.jobs.add(job.id)
                if job.state in ON_DEVICE:
                    slot.started.add(job.id)
                self._slots[job.id] = slot
                pool.open_jobs += 1
        pool.slots = {slot.device_id: slot for slot in slots.values()}
        for device_id in sorted(pool.candidates):
            self._of_device[device_id][pool] = None
            if device_id not in pool.slots and self._is_idle(device_id):
                pool.idle.add(device_id)

    def queue(self, job: JobView) -> None:
        """It is ready, for the first time or again."""
        if slot := self._slots.get(job.id):
            slot.started.discard(job.id)
            slot.ready.add(job.id)
            self._offer(slot)

    def start(self, job: JobView) -> None:
        if slot := self._slots.get(job.id):
            slot.ready.discard(job.id)
            slot.started.add(job.id)
            slot.settled = True
            slot.pool.waiting.pop(slot, None)

    def fail(self, job: JobView) -> None:
        """The infrastructure failed it: another device may do better."""
        if slot := self._slots.get(job.id):
            slot.settled = False
            self._offer(slot)

    def end(self, job: JobView) -> None:
        slot = self._slots.pop(job.id, None)
        if slot is None:
            return
        for jobs in (slot.jobs, slot.ready, slot.started):
            jobs.discard(job.id)
        self._offer(slot)
        slot.pool.open_jobs -= 1
        if not slot.pool.open_jobs:
            self._drop(slot.pool)

    def note(self, device_id: str, *, lost: bool) -> None:
        """A device was touched. ``lost``: it is out of service for long, so that nothing is bound to it any more."""
        idle = self._is_idle(device_id)
        for pool in self._of_device.get(device_id, ()):
            slot = pool.slots.get(device_id)
            if slot is not None:
                slot.lost = lost
                self._offer(slot)
            elif idle:
                pool.idle.add(device_id)
                self._stale[pool] = None
            else:
                pool.idle.discard(device_id)

    def choice_of(self, job: JobView) -> frozenset[str]:
        """The devices that it may choose from as things are; none where it is bound to its own."""
        slot = self._slots.get(job.id)
        return slot.pool.candidates if slot is not None and slot.may_move else frozenset()

    def free_quota(self, user: str) -> None:
        """Who was at the quota may have another device."""
        self._stale |= self._held_back.pop(user, {})

    def next_move(self, at_quota: Callable[[str], bool]) -> tuple[Slot, str] | None:
        """A slot that waits while a device is idle that could have it, and the device that it leaves for that."""
        for pool in sorted(self._stale, key=lambda pool: pool.rank):
            if pool.waiting and pool.idle:
                if at_quota(pool.user):
                    self._held_back[pool.user][pool] = None
                else:
                    for slot in pool.waiting:
                        if not self._serves(slot.device_id, pool.user):
                            return slot, self._move(slot)
            del self._stale[pool]
        return None

    def _move(self, slot: Slot) -> str:
        pool, left = slot.pool, slot.device_id
        slot.device_id = pool.idle.choice(self._rng)
        slot.lost = False
        for other in self._of_device[slot.device_id]:
            other.idle.discard(slot.device_id)
        del pool.slots[left]
        pool.slots[slot.device_id] = slot
        return left

    def _offer(self, slot: Slot) -> None:
        if slot.may_move:
            slot.pool.waiting[slot] = None
            self._stale[slot.pool] = None
        else:
            slot.pool.waiting.pop(slot, None)

    def _drop(self, pool: Pool) -> None:
        self._stale.pop(pool, None)
        if held_back := self._held_back.get(pool.user):
            held_back.pop(pool, None)
        for device_id in pool.candidates:
            del self._of_device[device_id][pool]
            if not self._of_device[device_id]:
                del self._of_device[device_id]


class _Bag:
    """A set that a member can be drawn from at random in constant time."""

    __slots__ = ("_members", "_places")

    def __init__(self) -> None:
        self._members: list[str] = []
        self._places: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._members)

    def add(self, member: str) -> None:
        if member not in self._places:
            self._places[member] = len(self._members)
            self._members.append(member)

    def discard(self, member: str) -> None:
        place = self._places.pop(member, None)
        if place is None:
            return
        last = self._members.pop()
        if last != member:
            self._members[place] = last
            self._places[last] = place

    def choice(self, rng: Random) -> str:
        return rng.choice(self._members)
