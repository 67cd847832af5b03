"""Jobs that may choose their device."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from farm.coordinator.events import (
    AttemptEnded,
    CancelRequested,
    DeviceChecked,
    DeviceLost,
    DeviceOrdered,
    DeviceSeen,
    Event,
    RunAdded,
)
from farm.coordinator.instructions import CheckDevice, MoveJobs, SetJob, StartAttempt
from farm.coordinator.state import FarmState
from farm.coordinator.views import BuildView, JobView
from farm.errors import InfrastructureError
from farm.types import BuildState, Failure, JobState
from tests.unit.coordinator.devices import bring

LOST = Failure.of(InfrastructureError("The cable is loose.", remedy="Push it in."))


class Bench:
    """A farm whose devices answer checks at once, and where each run has one pool."""

    def __init__(self, *devices: str, quota: int | None = None, seed: int = 1) -> None:
        self.state = FarmState("head", 1, quota, random.Random(seed))  # noqa: S311 - repeatable
        self.where: dict[int, str] = {}  # of every job that runs
        self.moved: list[MoveJobs] = []
        self.states: dict[int, JobState] = {}
        self.pools: dict[int, tuple[str, ...]] = {}
        self.slots: dict[int, tuple[int, int]] = {}  # job -> run and slot
        self.next_id = 1
        for device in devices:
            bring(self.state, device)

    def submit(self, pool: str, *slots: str, jobs_each: int = 1, user: str = "ada") -> int:
        """A run with the candidates ``pool`` and one slot on each device of ``slots``; its id, which is that of its
        first job. A slot whose device is no candidate belongs to no pool."""
        run, jobs = self.next_id, []
        for slot, device in enumerate(slots):
            for _ in range(jobs_each):
                number = 0 if device in pool else None
                view = JobView(self.next_id, run, user, device, frozenset({"k"}), pool=number, slot=slot)
                self.slots[self.next_id] = (run, slot)
                jobs.append(view)
                self.next_id += 1
        self.pools[run] = tuple(pool)
        self.apply(RunAdded(run, tuple(jobs), (BuildView("k", BuildState.BUILT),), {0: tuple(pool)}))
        return run

    def apply(self, event: Event, passed: bool = True) -> None:
        for one in self.state.apply(event):
            match one:
                case StartAttempt(job_id, device_id):
                    self.where[job_id] = device_id
                case MoveJobs():
                    self.moved.append(one)
                case SetJob(job_id, state):
                    self.states[job_id] = state
                    if state is not JobState.LEASED:
                        self.where.pop(job_id, None)
                case CheckDevice(device_id, _) if event != DeviceChecked(device_id, False, ""):
                    self.apply(DeviceChecked(device_id, passed, ""), passed)

    def end(self, job_id: int, failure: Failure | None = None, passed: bool = True) -> None:
        self.apply(AttemptEnded(job_id, self.state.jobs[job_id].epoch, failure), passed)


def test_a_job_that_may_choose_goes_to_a_device_that_is_idle() -> None:
    bench = Bench("a", "b")
    bench.submit("a", "a")
    job = bench.submit("ab", "a")
    assert bench.where == {1: "a", job: "b"}
    assert bench.moved == [MoveJobs((job,), "b")]


def test_all_variants_of_a_slot_move_together_and_stay_where_the_first_was_measured() -> None:
    bench = Bench("a", "b")
    bench.submit("a", "a")
    first = bench.submit("ab", "a", jobs_each=3)
    assert bench.moved == [MoveJobs((first, first + 1, first + 2), "b")]
    bench.end(1)
    assert bench.where == {first: "b"}, "a is idle, but the variants belong on one device"


def test_a_device_that_becomes_free_takes_what_waits_for_another() -> None:
    bench = Bench("a", "b")
    bench.submit("ab", "a", "b")
    job = bench.submit("ab", "a")
    assert job not in bench.where
    bench.end(2)
    assert bench.where == {1: "a", job: "b"}


def test_after_a_failure_of_the_infrastructure_all_that_is_left_goes_to_another_device() -> None:
    bench = Bench("a", "b")
    bench.submit("ab", "a", jobs_each=2)
    bench.end(1, LOST, passed=False)
    assert bench.where == {1: "b"}
    assert bench.moved == [MoveJobs((1, 2), "b")]


def test_without_another_device_the_job_is_tried_again_later_on_the_same() -> None:
    bench = Bench("a")
    bench.submit("ab", "a")
    bench.end(1, LOST)
    assert bench.where == {1: "a"}


def test_what_waits_for_a_device_that_goes_out_of_service_moves_on() -> None:
    bench = Bench("a", "b")
    bench.submit("b", "b")
    bench.submit("ab", "a", jobs_each=2)
    bench.apply(DeviceOrdered("a", "drain"))
    bench.end(2)
    assert bench.where == {1: "b"}
    bench.end(1)
    assert bench.where == {3: "b"}


def test_the_slots_of_a_pool_are_on_different_devices() -> None:
    bench = Bench("a", "b")
    bench.submit("ab", "a", "b", jobs_each=2)
    bench.end(3)
    bench.end(4)
    bench.end(1, LOST, passed=False)
    assert not bench.where, "b has measured the other slot"


def test_jobs_that_may_not_choose_stay() -> None:
    bench = Bench("a", "b")
    bench.submit("a", "a")
    job = bench.submit("b", "a")
    assert job not in bench.where
    assert not bench.moved


def test_a_quota_holds_for_those_who_may_choose_and_what_is_freed_moves_on() -> None:
    bench = Bench("a", "b", "c", quota=1)
    bench.submit("c", "c", user="ada")
    job = bench.submit("ab", "a", user="ada")
    bench.submit("a", "a", user="bob")
    assert job not in bench.where
    bench.end(1)
    assert bench.where[job] == "b"


def test_chance_spreads_the_wear() -> None:
    chosen: Counter[str] = Counter()
    for seed in range(60):
        bench = Bench("a", "b", "c", "d", seed=seed)
        bench.submit("a", "a")
        chosen[bench.where[bench.submit("abcd", "a")]] += 1
    assert set(chosen) == {"b", "c", "d"}
    assert min(chosen.values()) >= 10


def test_after_a_restart_a_slot_is_where_its_open_jobs_are() -> None:
    """Its first job failed on a, and the rest moved to b."""
    state = FarmState("head", 1)
    bring(state, "b")
    ended = JobView(1, 1, "ada", "a", frozenset({"k"}), state=JobState.FAILED, epoch=1, pool=0)
    open_ = JobView(2, 1, "ada", "b", frozenset({"k"}), state=JobState.QUEUED, epoch=1, pool=0)
    out = state.apply(RunAdded(1, (ended, open_), (BuildView("k", BuildState.BUILT),), {0: ("a", "b")}))
    assert StartAttempt(2, "b", 2) in out


DEVICES = "abcd"


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from((None, 1, 2)))
def test_whatever_happens_slots_stay_apart_and_no_device_idles_while_a_slot_waits(seed: int, quota: int | None) -> None:
    rng = random.Random(seed)  # noqa: S311 - repeatable
    bench = Bench(*DEVICES, quota=quota, seed=seed)
    for _ in range(60):
        _step(bench, rng)
        _check(bench, quota)
    for device in DEVICES:
        bench.apply(DeviceSeen(device, "agent", "bench"))
        bench.apply(DeviceOrdered(device, "resume"))
    for _ in range(20 * bench.next_id):
        for job_id in list(bench.where):
            bench.end(job_id)
    assert all(state.terminal for state in bench.states.values()), "no job is lost"
    assert not bench.state.jobs
    assert not bench.state.placement._of_device, "nothing is remembered of what has ended"


def _step(bench: Bench, rng: random.Random) -> None:
    kind = rng.choices(("submit", "end", "fail", "see", "lose", "order", "cancel"), (5, 8, 2, 2, 1, 1, 1))[0]
    device = rng.choice(DEVICES)
    if kind == "submit":
        pool = rng.sample(DEVICES, rng.randint(1, 4))
        slots = rng.sample(pool, rng.randint(1, len(pool)))
        bench.submit("".join(pool), *slots, jobs_each=rng.randint(1, 3), user=rng.choice(("ada", "bob")))
    elif kind in ("end", "fail") and bench.where:
        job_id = rng.choice(list(bench.where))
        bench.end(job_id, LOST if kind == "fail" else None, passed=rng.random() < 0.5)
    elif kind == "lose":
        bench.apply(DeviceLost(device))
    elif kind == "order":
        bench.apply(DeviceOrdered(device, rng.choice(("drain", "maintain", "check", "resume"))))
    elif kind == "cancel":
        bench.apply(CancelRequested(rng.randint(1, bench.next_id)))
    else:
        bench.apply(DeviceSeen(device, "agent", "bench"))


def _check(bench: Bench, quota: int | None) -> None:
    state = bench.state
    assert len(set(bench.where.values())) == len(bench.where), "a device is leased once"
    devices_of: dict[tuple[int, int], set[str]] = {}
    for job in state.jobs.values():
        assert job.device_id in bench.pools[job.run_id], "only candidates are chosen"
        devices_of.setdefault(bench.slots[job.id], set()).add(job.device_id)
    assert all(len(devices) == 1 for devices in devices_of.values()), "a slot is on one device"
    taken = Counter((run, *devices) for (run, _), devices in devices_of.items())
    assert not taken or max(taken.values()) == 1, "the slots of a pool are on different devices"
    for job in state.jobs.values():
        if job.state is not JobState.QUEUED or state.scheduler.at_quota(job.user):
            continue
        where = state.devices[job.device_id]
        if where.in_service and not where.holders:
            raise AssertionError(f"{job} waits for a device that is free")
        others = {device for (run, _), devices in devices_of.items() if run == job.run_id for device in devices}
        for id in state.placement.choice_of(job) - others:
            ended = {slot for slot in bench.slots.values() if slot[0] == job.run_id} - devices_of.keys()
            assert ended or not state.devices[id].idle, f"{id} idles while {job} waits"
