"""Who goes next: priorities, fair shares, quotas, the build host, and that the incremental scheduler decides as a
plain scan of everything would."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.coordinator.events import (
    AgentLost,
    AttemptEnded,
    BuildEnded,
    CancelRequested,
    DeviceChecked,
    DeviceOrdered,
    DeviceReleased,
    DeviceRemembered,
    DeviceReserved,
    DeviceSeen,
    Event,
    RunAdded,
)
from farm.coordinator.instructions import CheckDevice, Instruction, StartAttempt, StartBuild
from farm.coordinator.queue import AGES_AFTER, TOGETHER
from farm.coordinator.scheduler import BUILDS_IN_A_ROW
from farm.coordinator.state import FarmState
from farm.coordinator.views import BuildView, JobView
from farm.errors import InfrastructureError
from farm.types import BuildState, DeviceHealth, Failure, JobState, Priority
from tests.unit.coordinator.devices import bring
from tests.unit.coordinator.reference import Reference

LOST = Failure.of(InfrastructureError("The worker died.", remedy="Tried again."))
PRIORITIES: tuple[Priority, ...] = ("interactive", "normal", "nightly")


class Bench:
    """A farm whose builds are there already and whose devices are elsewhere, worked off attempt by attempt."""

    def __init__(self, *devices: str, quota: int | None = None) -> None:
        self.state = FarmState("head", 2, quota)
        self.running: dict[str, tuple[int, int]] = {}
        self.order: list[JobView] = []  # as they started
        self.next_id = 1
        for device in devices:
            bring(self.state, device)

    def submit(self, user: str, *devices: str, priority: Priority = "normal") -> int:
        """One run with a job per device named; its id, which is that of its first job."""
        run = self.next_id
        jobs = [JobView(run + n, run, user, d, frozenset({"k"}), priority) for n, d in enumerate(devices)]
        self.next_id += len(jobs)
        self.apply(RunAdded(run, tuple(jobs), (BuildView("k", BuildState.BUILT),)))
        return run

    def apply(self, event: Event) -> None:
        for one in self.state.apply(event):
            if isinstance(one, StartAttempt):
                self.running[one.device_id] = (one.job_id, one.epoch)
                self.order.append(self.state.jobs[one.job_id])

    def turn(self, device: str) -> None:
        """Its attempt ends."""
        self.apply(AttemptEnded(*self.running.pop(device)))

    def drain(self, device: str) -> list[JobView]:
        while device in self.running:
            self.turn(device)
        return self.order


def test_a_higher_priority_goes_first_but_interrupts_nothing() -> None:
    bench = Bench("a")
    for priority in reversed(PRIORITIES):
        bench.submit("ada", "a", "a", priority=priority)
    started = [job.priority for job in bench.drain("a")]
    assert started == ["nightly", "interactive", "interactive", "normal", "normal", "nightly"]


def test_the_variants_of_a_run_stay_together_while_users_take_turns() -> None:
    bench = Bench("a")
    for user in ("ada", "ada", "bob", "bob"):
        bench.submit(user, *["a"] * 8)
    assert [(job.user, job.run_id) for job in bench.drain("a")] == [
        key for key in (("ada", 1), ("bob", 17), ("ada", 9), ("bob", 25)) for _ in range(8)
    ]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 60)), min_size=2, max_size=8),
    st.sampled_from(PRIORITIES),
)
def test_users_with_jobs_ready_all_the_time_get_the_same_share(
    submissions: list[tuple[str, int]], priority: Priority
) -> None:
    bench = Bench("d")
    bench.submit("first", "d", priority=priority)  # so that all the others are there before a choice is made
    left: Counter[str] = Counter()
    for user, count in submissions:
        bench.submit(user, *["d"] * count, priority=priority)
        left[user] += count
    got: Counter[str] = Counter(dict.fromkeys(left, 0))
    for job in bench.drain("d")[1:]:
        got[job.user] += 1
        if got[job.user] == left[job.user]:
            break
        assert max(got.values()) - min(got.values()) <= TOGETHER


def test_who_comes_late_neither_waits_for_the_others_nor_is_owed_what_was_missed() -> None:
    bench = Bench("d")
    bench.submit("early", *["d"] * 200)
    for _ in range(100):
        bench.turn("d")
    bench.submit("late", *["d"] * 100)
    for _ in range(4 * TOGETHER):
        bench.turn("d")
    shares = Counter(job.user for job in bench.order[-4 * TOGETHER :])
    assert abs(shares["early"] - shares["late"]) <= TOGETHER


@pytest.mark.parametrize("priority", ["normal", "nightly"])
def test_no_priority_starves(priority: Priority) -> None:
    bench = Bench("d")
    bench.submit("bob", "d", priority="interactive")
    bench.submit("ada", "d", "d", "d", priority=priority)
    for _ in range(3 * (AGES_AFTER + 1)):
        bench.submit("bob", "d", priority="interactive")
        bench.turn("d")
    waits = [turn for turn, job in enumerate(bench.order) if job.user == "ada"]
    assert waits == [AGES_AFTER * (n + 1) + n + 1 for n in range(3)]


def test_a_quota_bounds_the_devices_of_a_user_and_what_is_freed_goes_to_the_next_of_hers() -> None:
    bench = Bench("a", "b", "c", quota=2)
    bench.submit("ada", "a", "b", "c", "c")
    assert bench.running.keys() == {"a", "b"}
    bench.submit("bob", "c")
    assert bench.running.keys() == {"a", "b", "c"}, "the quota of one user is not that of another"
    bench.turn("c")
    assert "c" not in bench.running
    bench.turn("b")
    assert bench.running.keys() == {"a", "c"}


def test_a_users_own_higher_priority_goes_first_where_the_quota_chooses_between_devices() -> None:
    bench = Bench("a", "b", "c", quota=1)
    bench.submit("ada", "a")
    bench.submit("ada", "b", priority="nightly")
    bench.submit("ada", "c", priority="interactive")
    bench.turn("a")
    bench.turn("c")
    assert [job.device_id for job in bench.order] == ["a", "c", "b"]


def test_a_held_back_device_whose_jobs_were_cancelled_takes_no_place_from_another() -> None:
    bench = Bench("a", "b", "c", quota=1)
    bench.submit("ada", "a")
    cancelled = bench.submit("ada", "b")
    bench.submit("ada", "c")
    bench.apply(CancelRequested(cancelled))
    bench.turn("a")
    assert bench.running.keys() == {"c"}


def test_builds_without_end_do_not_keep_their_machine_from_measuring() -> None:
    state = FarmState("head", 1)
    bring(state, "a", host="head")
    job = JobView(1, 1, "ada", "a", frozenset({"k0"}))
    endless = [JobView(n, 2, "ada", "b", frozenset({f"k{n}"})) for n in range(2, 3 * BUILDS_IN_A_ROW)]
    state.apply(RunAdded(1, (job,), (BuildView("k0"),)))
    state.apply(RunAdded(2, tuple(endless), tuple(BuildView(f"k{one.id}") for one in endless)))
    building, built = "k0", 0
    while True:
        out = state.apply(BuildEnded(building))
        if any(isinstance(one, StartAttempt) for one in out):
            break
        (building,) = (one.key for one in out if isinstance(one, StartBuild))
        built += 1
    assert built <= BUILDS_IN_A_ROW + 1
    assert not any(isinstance(one, StartBuild) for one in out)
    assert any(isinstance(one, StartBuild) for one in state.apply(AttemptEnded(1, 1))), "then builds go on"


def test_the_builds_of_a_higher_priority_go_first() -> None:
    state = FarmState("head", 1)
    for run, priority in enumerate(("nightly", "nightly", "interactive"), 1):
        job = JobView(run, run, "ada", "a", frozenset({f"k{run}"}), priority)
        state.apply(RunAdded(run, (job,), (BuildView(f"k{run}"),)))
    assert StartBuild("k3") in state.apply(BuildEnded("k1"))


def test_after_a_restart_a_device_is_free_only_when_all_that_may_have_it_are_done() -> None:
    """It was released by one job, whose result was being worked out, and leased to another."""
    state = FarmState("head", 2)
    states = (JobState.RUNNING, JobState.LEASED, JobState.QUEUED)
    jobs = tuple(
        JobView(n, 1, "ada", "a", frozenset({"k"}), state=one, epoch=int(one is not JobState.QUEUED))
        for n, one in enumerate(states, 1)
    )
    state.apply(RunAdded(1, jobs, (BuildView("k", BuildState.BUILT),)))
    state.apply(DeviceRemembered("a", DeviceHealth.GOOD, "", 0, None))
    assert not any(isinstance(one, CheckDevice) for one in state.apply(DeviceSeen("a", "agent", "bench")))
    assert not any(isinstance(one, StartAttempt) for one in state.apply(AttemptEnded(1, 1)))
    assert StartAttempt(3, "a", 1) in state.apply(AttemptEnded(2, 1))


def student(key: str) -> str:
    """What the build of that key trains: of three, two train the same as their neighbours, one nothing."""
    number = int(key.removeprefix("k"))
    return f"s{number // 6}" if number % 3 else ""


class Chaos:
    """Random events, with many jobs per device, so that every bound of the scheduler is reached."""

    DEVICES = ("a-1", "a-2", "b-1", "c-1", "c-2")  # those of "a" are on the build host

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - repeatable
        self.quota = self.rng.choice((None, 1, 2, 3))
        self.state = FarmState("a", self.rng.choice((1, 2)), self.quota)
        self.reference = Reference(self.state)
        self.running: dict[tuple[int, int], None] = {}
        self.building: dict[str, None] = {}
        self.next_job = self.next_run = self.next_key = 1
        self.reached: set[str] = set()
        self.streams = self.rng.random() < 0.5  # builds without end

    def event(self) -> Event:
        kinds = ("submit", "build", "end", "release", "see", "check", "lose", "cancel", "order")
        kind = self.rng.choices(kinds, (4, 8, 12, 1, 3, 12, 0.4, 0.3, 0.3))[0]
        if kind == "submit" or (self.streams and not self.state.scheduler.pending):
            return self.submit()
        if kind == "build" and self.building:
            key = self.rng.choice(list(self.building))
            del self.building[key]
            return BuildEnded(key, self.rng.choices((None, LOST), (9, 1))[0])
        if kind in ("end", "release") and self.running:
            return self.answer(kind)
        if kind == "lose":
            return AgentLost(self.rng.choice("abc"))
        if kind == "cancel":
            return CancelRequested(self.rng.randrange(1, self.next_run + 1))
        return self.device_event(kind, self.rng.choice(self.DEVICES))

    def device_event(self, kind: str, device: str) -> Event:
        if kind == "check":
            return DeviceChecked(device, self.rng.random() < 0.9, "")
        if kind == "order":
            order = self.rng.choice(("drain", "maintain", "resume", "check", "loop"))
            reservation = DeviceReserved(device, self.rng.choice((None, None, "ada", "bob")))
            return self.rng.choice((reservation, DeviceOrdered(device, order), DeviceOrdered(device, "resume")))
        return DeviceSeen(device, device[0], device[0])

    def answer(self, kind: str) -> Event:
        attempt = self.rng.choice(list(self.running))
        if kind == "release":
            return DeviceReleased(*attempt)
        del self.running[attempt]
        return AttemptEnded(*attempt, self.rng.choices((None, LOST), (19, 1))[0])

    def submit(self) -> RunAdded:
        jobs = []
        devices = self.rng.choice((self.DEVICES, self.DEVICES, self.DEVICES[-1:]))
        for _ in range(self.rng.choice((1, 2, 5, 25))):
            if self.rng.random() < (0.5 if self.streams else 0.1):
                self.next_key += 1
            key = f"k{max(1, self.next_key - self.rng.randrange(3))}"
            device = self.rng.choice(devices)
            jobs.append(JobView(self.next_job, self.next_run, "", device, frozenset({key})))
            self.next_job += 1
        user, priority = self.rng.choice(("ada", "bob", "cleo")), self.rng.choices(PRIORITIES, (6, 2, 2))[0]
        for job in jobs:
            job.user, job.priority = user, priority
        self.next_run += 1
        keys = sorted({key for job in jobs for key in job.needs})
        return RunAdded(self.next_run - 1, tuple(jobs), tuple(BuildView(key, student=student(key)) for key in keys))

    def step(self) -> None:
        out: list[Instruction] = self.state.apply(self.event())
        attempts, builds = self.reference.expect(out)
        started = [one for one in out if isinstance(one, StartAttempt)]
        assert [(one.job_id, one.device_id) for one in started] == attempts
        assert [one.key for one in out if isinstance(one, StartBuild)] == builds
        for one in started:
            self.running[one.job_id, one.epoch] = None
        for key in builds:
            self.building[key] = None
        leased = Counter(self.state.jobs[job].user for device in self.state.devices.values() for job in device.holders)
        assert self.quota is None or max(leased.values(), default=0) <= self.quota
        self.note_bounds()

    def note_bounds(self) -> None:
        if self.reference.held_back:
            self.reached.add("one student")
        if self.reference.builds_in_a_row >= BUILDS_IN_A_ROW:
            self.reached.add("builds in a row")
        for share in self.reference.shares.values():
            if share.passed_over >= AGES_AFTER:
                self.reached.add("ages")
            if share.streak >= TOGETHER:
                self.reached.add("together")
        if self.state.scheduler._held_back:
            self.reached.add("quota")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_it_decides_as_a_plain_scan_of_everything_would(seed: int) -> None:
    chaos = Chaos(seed)
    for _ in range(400):
        chaos.step()


def test_the_scan_was_tried_beyond_every_bound() -> None:
    reached: set[str] = set()
    for seed in range(12):
        chaos = Chaos(seed)
        for _ in range(500):
            chaos.step()
        reached |= chaos.reached
    assert reached == {"ages", "builds in a row", "one student", "quota", "together"}


def test_a_run_of_turns_keeps_its_order_whoever_else_is_there() -> None:
    """Old and new artifacts take turns (``farm.analysis.interleaved``): what infrastructure failed goes again at once,
    and nobody of the same priority comes in between."""
    bench = Bench("a")
    bench.submit("bob", *["a"] * 8, priority="nightly")
    turns = bench.submit("ada", *["a"] * TOGETHER, priority="nightly")
    for number in range(60):
        if "a" not in bench.running:
            break
        job = bench.state.jobs[bench.running["a"][0]]
        if job.run_id == turns and number % 5 == 3:
            bench.apply(AttemptEnded(*bench.running.pop("a"), failure=LOST))
            bench.apply(DeviceReleased(job.id, job.epoch))
        else:
            bench.turn("a")
    mine = [job.id for job in bench.order if job.run_id == turns]
    assert mine == sorted(mine)
    places = [place for place, job in enumerate(bench.order) if job.run_id == turns]
    assert places == list(range(places[0], places[0] + len(places)))
