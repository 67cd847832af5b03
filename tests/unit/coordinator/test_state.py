"""The state machine under arbitrary interleavings of what can happen to a farm."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from farm.coordinator.events import (
    AgentLost,
    AttemptEnded,
    AttemptStarted,
    BuildEnded,
    BuildSlotsChanged,
    CancelRequested,
    Continued,
    DeviceChecked,
    DeviceLost,
    DeviceOrdered,
    DeviceReleased,
    DeviceRemembered,
    DeviceReserved,
    DeviceSeen,
    Event,
    RunAdded,
)
from farm.coordinator.explanation import explain
from farm.coordinator.instructions import (
    CheckDevice,
    EndRun,
    Instruction,
    SetBuild,
    SetDevice,
    SetJob,
    StartAttempt,
    StartBuild,
    WithdrawAttempt,
)
from farm.coordinator.state import MAX_ATTEMPTS, FarmState
from farm.coordinator.views import BuildView, JobView
from farm.errors import AttemptInterrupted, InfrastructureError, NoBuilderError, RecipeError
from farm.types import BuildState, DeviceHealth, DeviceState, Failure, JobState, OrderKind, Priority, RunState
from tests.unit.coordinator.devices import FixedPace, bring
from tests.unit.coordinator.reference import Reference

INTERRUPTED = Failure.of(AttemptInterrupted("The head withdrew it.", remedy="Tried again."))
LOST = Failure.of(InfrastructureError("The worker died.", remedy="Tried again."))
BROKEN = Failure.of(RecipeError("The converter refuses aten::foo.", remedy="Choose another recipe."))
DEVICES = ("a-cpu", "b-cpu", "b-gpu")
USERS = ("ada", "bob", "cleo")
QUOTA = 2
KEYS = ("k1", "k2", "k3")
UNKNOWN_PACE = FixedPace(None, None)


def kinds(instructions: list[Instruction], kind: type) -> list:
    return [instruction for instruction in instructions if isinstance(instruction, kind)]


def farm_with(
    jobs: list[JobView], *, host: str = "bench", devices: tuple[str, ...] = ("a-cpu",)
) -> tuple[FarmState, list]:
    state = FarmState(build_host="head", build_slots=2)
    out = [instruction for device in devices for instruction in bring(state, device, device[0], host)]
    keys = sorted({key for job in jobs for key in job.needs})
    out += state.apply(RunAdded(1, tuple(jobs), tuple(BuildView(key) for key in keys)))
    return state, out


def job(number: int, *needs: str, device: str = "a-cpu", run: int = 1) -> JobView:
    return JobView(number, run, "ada", device, frozenset(needs or ("k1",)))


def test_a_job_goes_from_submission_to_the_end_of_its_run() -> None:
    state, out = farm_with([job(1)])
    assert kinds(out, StartBuild) == [StartBuild("k1")]
    out = state.apply(BuildEnded("k1"))
    assert kinds(out, StartAttempt) == [StartAttempt(1, "a-cpu", 1)]
    state.apply(AttemptStarted(1, 1))
    assert [one.state for one in kinds(state.apply(DeviceReleased(1, 1)), SetDevice)] == [DeviceState.ONLINE]
    out = state.apply(AttemptEnded(1, 1))
    assert out == [SetJob(1, JobState.FINISHED, 1), EndRun(1, RunState.FINISHED)]


def test_a_build_is_shared_by_all_jobs_that_need_it() -> None:
    _, out = farm_with([job(1, "k1"), job(2, "k1"), job(3, "k1", device="b-cpu")])
    assert kinds(out, StartBuild) == [StartBuild("k1")]


def test_a_failed_build_fails_its_jobs_with_the_reason_and_leaves_the_others_alone() -> None:
    state, _ = farm_with([job(1, "k1"), job(2, "k2")])
    out = state.apply(BuildEnded("k1", BROKEN))
    assert kinds(out, SetJob) == [SetJob(1, JobState.FAILED, 0, "its artifact could not be built", BROKEN)]
    assert not kinds(out, EndRun)
    assert kinds(state.apply(BuildEnded("k2")), StartAttempt) == [StartAttempt(2, "a-cpu", 1)]


def test_a_build_whose_worker_died_is_tried_again_but_not_for_ever() -> None:
    state, _ = farm_with([job(1)])
    for _ in range(MAX_ATTEMPTS - 1):
        assert kinds(state.apply(BuildEnded("k1", LOST)), StartBuild) == [StartBuild("k1")]
    assert kinds(state.apply(BuildEnded("k1", LOST)), EndRun) == [EndRun(1, RunState.FINISHED)]


def test_builds_start_when_a_machine_that_builds_joins() -> None:
    state, out = farm_with([job(n, f"k{n}") for n in range(1, 5)])
    assert kinds(out, StartBuild) == [StartBuild("k1"), StartBuild("k2")]
    assert kinds(state.apply(BuildSlotsChanged(3)), StartBuild) == [StartBuild("k3")]


def test_a_build_that_no_node_can_take_is_not_tried_again_and_again() -> None:
    state, _ = farm_with([job(1)])
    nobody = Failure.of(NoBuilderError("No node can build litert.", remedy="Install it."))
    assert kinds(state.apply(BuildEnded("k1", nobody)), EndRun) == [EndRun(1, RunState.FINISHED)]


def test_a_machine_does_not_measure_while_it_builds_but_others_do() -> None:
    state, _ = farm_with([job(1, "k1"), job(2, "k2"), job(3, "k2", device="b-cpu")], host="head")
    bring(state, "b-cpu", "b", "elsewhere")
    out = state.apply(BuildEnded("k2"))
    assert kinds(out, StartAttempt) == [StartAttempt(3, "b-cpu", 1)]
    assert kinds(state.apply(BuildEnded("k1")), StartAttempt) == [StartAttempt(1, "a-cpu", 1)]


def test_a_machine_does_not_build_while_it_measures() -> None:
    state, _ = farm_with([job(1)], host="head")
    state.apply(BuildEnded("k1"))
    out = state.apply(RunAdded(2, (job(2, "k9", run=2),), (BuildView("k9"),)))
    assert not kinds(out, StartBuild)
    assert kinds(state.apply(AttemptEnded(1, 1)), StartBuild) == [StartBuild("k9")]


def test_a_late_result_of_a_superseded_attempt_is_not_counted() -> None:
    state, _ = farm_with([job(1)])
    state.apply(BuildEnded("k1"))
    assert kinds(state.apply(AttemptEnded(1, 1, INTERRUPTED)), StartAttempt) == [StartAttempt(1, "a-cpu", 2)]
    assert not state.attempt_is_current(1, 1)
    assert state.apply(AttemptEnded(1, 1)) == []
    assert kinds(state.apply(AttemptEnded(1, 2)), SetJob) == [SetJob(1, JobState.FINISHED, 2)]


def test_a_lost_agent_keeps_its_lease_until_that_ends() -> None:
    state, _ = farm_with([job(1), job(2)])
    state.apply(BuildEnded("k1"))
    assert not kinds(state.apply(AgentLost("a")), StartAttempt)
    assert state.devices["a-cpu"].state is DeviceState.LEASED
    assert not kinds(state.apply(AttemptEnded(1, 1, INTERRUPTED)), StartAttempt)
    assert kinds(bring(state, "a-cpu", "a"), StartAttempt) == [StartAttempt(1, "a-cpu", 2)]


def test_cancel_withdraws_what_runs_and_the_device_goes_on_with_another_run() -> None:
    state, _ = farm_with([job(1), job(2)])
    state.apply(BuildEnded("k1"))
    state.apply(RunAdded(2, (job(3, run=2),), (BuildView("k1", BuildState.BUILT),)))
    out = state.apply(CancelRequested(1))
    assert kinds(out, WithdrawAttempt) == [WithdrawAttempt(1, 1)]
    assert kinds(out, EndRun) == [EndRun(1, RunState.CANCELLED)]
    assert kinds(out, StartAttempt) == [StartAttempt(3, "a-cpu", 1)]
    assert state.apply(AttemptEnded(1, 1)) == []


def test_a_new_coordinator_takes_up_what_the_last_one_left() -> None:
    held = JobView(1, 1, "ada", "a-cpu", frozenset({"k1"}), state=JobState.RUNNING, epoch=2)
    waiting = JobView(2, 1, "ada", "a-cpu", frozenset({"k2"}))
    state = FarmState("head", 2)
    out = state.apply(
        RunAdded(1, (held, waiting), (BuildView("k1", BuildState.BUILT), BuildView("k2", BuildState.BUILDING)))
    )
    assert kinds(out, SetBuild)[0].state is BuildState.PENDING, "a build of a former life has died with it"
    assert kinds(out, StartBuild) == [StartBuild("k2")]
    state.apply(DeviceRemembered("a-cpu", DeviceHealth.GOOD, "", 0, None))
    assert not kinds(state.apply(DeviceSeen("a-cpu", "a", "bench")), CheckDevice), "it measures"
    state.apply(BuildEnded("k2"))
    assert kinds(state.apply(AttemptEnded(1, 2)), StartAttempt) == [StartAttempt(2, "a-cpu", 1)]


def test_a_new_coordinator_does_not_build_for_jobs_that_have_ended() -> None:
    failed = JobView(1, 1, "ada", "a-cpu", frozenset({"k1"}), state=JobState.FAILED)
    state = FarmState("a", 2)
    bring(state, "a-cpu", "a", "a")
    views = (BuildView("k1", BuildState.FAILED), BuildView("k2", BuildState.BUILT))
    out = state.apply(RunAdded(1, (failed, job(2, "k2")), views))
    assert not kinds(out, SetBuild)
    assert not kinds(out, StartBuild)
    assert kinds(out, StartAttempt) == [StartAttempt(2, "a-cpu", 1)], "nor does that keep a machine from measuring"


def test_a_large_run_becomes_ready_in_portions() -> None:
    state, _ = farm_with([job(number) for number in range(1, 6)])
    state.portion = 2
    queued = []
    for event in (BuildEnded("k1"), Continued(), Continued()):
        queued.append([one.job_id for one in kinds(state.apply(event), SetJob) if one.state is JobState.QUEUED])
    assert queued == [[1, 2], [3, 4], [5]]
    assert not state.is_behind


def test_a_run_that_is_cancelled_while_it_becomes_ready_ends_whole() -> None:
    state, _ = farm_with([job(1), job(2), job(3)])
    state.portion = 1
    state.apply(BuildEnded("k1"))
    out = [*state.apply(CancelRequested(1)), *state.apply(CancelRequested(1)), *state.apply(Continued())]
    ended = [one.job_id for one in kinds(out, SetJob) if one.state is JobState.CANCELLED]
    assert sorted(ended) == [1, 2, 3]
    assert kinds(out, EndRun) == [EndRun(1, RunState.CANCELLED)]
    assert not state.is_behind
    assert state.apply(Continued()) == []


def test_a_run_that_comes_while_others_hear_that_its_build_failed_fails_with_them() -> None:
    state, _ = farm_with([job(1), job(2)])
    state.portion = 1
    state.apply(BuildEnded("k1", BROKEN))
    out = state.apply(RunAdded(2, (job(3, run=2),), (BuildView("k1"),)))
    assert kinds(out, SetBuild) == [SetBuild("k1", BuildState.FAILED, frozenset({2}), BROKEN)]
    out += state.apply(Continued())
    assert [(one.job_id, one.failure) for one in kinds(out, SetJob)] == [(2, BROKEN), (3, BROKEN)]
    assert kinds(state.apply(RunAdded(3, (job(4, run=3),), (BuildView("k1"),))), StartBuild), "a later run tries anew"


class Farm(RuleBasedStateMachine):
    """Random events, among them repeated and outdated ones, against what must always hold."""

    attempts: Bundle[tuple[int, int]] = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.state = FarmState(build_host="a", build_slots=2, devices_per_user=QUOTA)
        self.reference = Reference(self.state)
        self.next_job = self.next_run = 1
        self.job_states: dict[int, JobState] = {}
        self.ends: Counter[int] = Counter()
        self.run_ends: Counter[int] = Counter()
        self.open: dict[str, tuple[int, int]] = {}  # device -> attempt that agents may believe to hold it
        self.building: set[str] = set()
        self.checking: set[str] = set()
        self.jobs_of: dict[int, set[int]] = {}

    def feed(self, event: Event) -> tuple[tuple[int, int], ...]:
        started = []
        released = self._released_by(event)
        out = self.state.apply(event)
        self.open = {device: held for device, held in self.open.items() if held != released}
        attempts, builds = self.reference.expect(out)
        assert [(one.job_id, one.device_id) for one in kinds(out, StartAttempt)] == attempts
        assert [one.key for one in kinds(out, StartBuild)] == builds
        for instruction in out:
            match instruction:
                case SetJob(job_id, job_state, _):
                    assert not self.job_states[job_id].terminal, "a job ends once"
                    self.job_states[job_id] = job_state
                    self.ends[job_id] += job_state.terminal
                    if job_state.terminal or job_state is JobState.QUEUED:
                        self.open = {d: held for d, held in self.open.items() if held[0] != job_id}
                case StartAttempt(job_id, device_id, epoch):
                    assert device_id not in self.open, "a device is leased once"
                    assert self.state.devices[device_id].in_service, "a device out of service gets no job"
                    assert self.state.devices[device_id].reserved_for in (None, self.state.jobs[job_id].user)
                    assert not (device_id == "a-cpu" and self.building), "a building machine does not measure"
                    self.open[device_id] = (job_id, epoch)
                    started.append((job_id, epoch))
                case StartBuild(key):
                    assert key not in self.building, "nothing is built twice at a time"
                    assert "a-cpu" not in self.open, "a measuring machine does not build"
                    self.building.add(key)
                case CheckDevice(device_id, _):
                    assert device_id not in self.open, "a device that measures is left alone"
                    assert device_id not in self.checking, "a device is checked once at a time"
                    self.checking.add(device_id)
                case WithdrawAttempt(job_id, _):
                    self.open = {d: held for d, held in self.open.items() if held[0] != job_id}
                case EndRun(run_id, _):
                    self.run_ends[run_id] += 1
        return tuple(started)

    def _released_by(self, event: Event) -> tuple[int, int] | None:
        match event:
            case DeviceReleased(job_id, epoch) | AttemptEnded(job_id, epoch):
                return job_id, epoch
            case DeviceChecked(id):
                self.checking.discard(id)
            case DeviceLost(id):
                self.checking.discard(id)
            case AgentLost(agent):
                self.checking -= {id for id in self.checking if id[0] == agent}
        return None

    @rule(
        target=attempts,
        needs=st.lists(st.sampled_from(KEYS), min_size=1, max_size=4),
        user=st.sampled_from(USERS),
        priority=st.sampled_from(("interactive", "normal", "nightly")),
        data=st.data(),
    )
    def submit(self, needs: list[str], user: str, priority: Priority, data: st.DataObject) -> object:
        jobs = []
        for key in needs:
            device = data.draw(st.sampled_from(DEVICES))
            jobs.append(JobView(self.next_job, self.next_run, user, device, frozenset({key}), priority))
            self.job_states[self.next_job] = JobState.WAITING
            self.next_job += 1
        self.jobs_of[self.next_run] = {one.id for one in jobs}
        event = RunAdded(self.next_run, tuple(jobs), tuple(BuildView(key) for key in sorted(set(needs))))
        self.next_run += 1
        return _several(self.feed(event))

    @rule(target=attempts, key=st.sampled_from(KEYS), failure=st.sampled_from((None, LOST, BROKEN)))
    def end_build(self, key: str, failure: Failure | None) -> object:
        self.building.discard(key)
        return _several(self.feed(BuildEnded(key, failure)))

    @rule(target=attempts, device=st.sampled_from(DEVICES))
    def see(self, device: str) -> object:
        return _several(self.feed(DeviceSeen(device, device[0], device[0])))

    @rule(target=attempts, device=st.sampled_from(DEVICES), passed=st.sampled_from((True, True, False)))
    def check(self, device: str, passed: bool) -> object:
        return _several(self.feed(DeviceChecked(device, passed, "looked at")))

    @rule(target=attempts, device=st.sampled_from(DEVICES))
    def unplug(self, device: str) -> object:
        return _several(self.feed(DeviceLost(device)))

    @rule(
        target=attempts,
        device=st.sampled_from(DEVICES),
        kind=st.sampled_from(("drain", "maintain", "resume", "check", "loop")),
    )
    def order(self, device: str, kind: OrderKind) -> object:
        return _several(self.feed(DeviceOrdered(device, kind)))

    @rule(target=attempts, device=st.sampled_from(DEVICES), user=st.sampled_from((None, *USERS)))
    def reserve(self, device: str, user: str | None) -> object:
        return _several(self.feed(DeviceReserved(device, user)))

    @rule(target=attempts, agent=st.sampled_from("ab"))
    def lose(self, agent: str) -> object:
        return _several(self.feed(AgentLost(agent)))

    @rule(attempt=attempts)
    def start(self, attempt: tuple[int, int]) -> None:
        self.feed(AttemptStarted(*attempt))

    @rule(target=attempts, attempt=attempts)
    def release(self, attempt: tuple[int, int]) -> object:
        return _several(self.feed(DeviceReleased(*attempt)))

    @rule(target=attempts, attempt=attempts, failure=st.sampled_from((None, LOST, BROKEN)))
    def end(self, attempt: tuple[int, int], failure: Failure | None) -> object:
        return _several(self.feed(AttemptEnded(*attempt, failure)))

    @rule(target=attempts, run=st.integers(1, 8))
    def cancel(self, run: int) -> object:
        return _several(self.feed(CancelRequested(run)))

    @rule(target=attempts)
    def go_on(self) -> object:
        return _several(self.feed(Continued()))

    @invariant()
    def every_job_ends_at_most_once_and_runs_end_with_their_last_job(self) -> None:
        assert all(count == 1 for count in self.ends.values() if count)
        for run, jobs in self.jobs_of.items():
            ended = all(self.job_states[one].terminal for one in jobs)
            assert self.run_ends[run] == ended

    @invariant()
    def nothing_is_remembered_of_what_has_ended(self) -> None:
        assert all(not self.job_states[one].terminal for one in self.state.jobs)
        assert all(build.jobs or build.state is BuildState.BUILDING for build in self.state.builds.values())

    @invariant()
    def nobody_has_more_devices_than_the_quota_and_the_counts_are_right(self) -> None:
        holders = [job for device in self.state.devices.values() for job in device.holders]
        leased = Counter(self.state.jobs[one].user for one in holders)
        assert leased == self.state.scheduler.leased_by
        assert all(count <= QUOTA for count in leased.values())

    @invariant()
    def every_job_can_say_why_it_waits(self) -> None:
        for one in self.state.jobs.values():
            told = explain(self.state, one.id, UNKNOWN_PACE)
            assert (one.device_id if one.state is not JobState.WAITING else "build") in told.text
            assert told.starts_in_seconds is None, "nothing is known of how long jobs take"

    def teardown(self) -> None:
        """Whatever happened: with devices back and builds answered, every job comes to an end."""
        for device in DEVICES:
            self.feed(DeviceSeen(device, device[0], device[0]))
            self.feed(DeviceReserved(device, None))
            self.feed(DeviceOrdered(device, "resume"))
        for _ in range(10 * self.next_job + 30):
            self.go_on()
            for device in sorted(self.checking):
                self.feed(DeviceChecked(device, True, ""))
            for key in sorted(self.building):
                self.end_build(key, None)
            for held in list(self.open.values()):
                self.feed(AttemptEnded(*held))
            for one in [j for j in self.state.jobs.values() if j.state in (JobState.LEASED, JobState.RUNNING)]:
                self.feed(AttemptEnded(one.id, one.epoch))
        assert all(job_state.terminal for job_state in self.job_states.values())
        assert not self.state.jobs
        assert not self.state.runs


def _several(started: tuple[tuple[int, int], ...]) -> object:
    from hypothesis.stateful import multiple

    return multiple(*started)


class FarmInPortions(Farm):
    """The same where every run is large."""

    def __init__(self) -> None:
        super().__init__()
        self.state.portion = 1


TestFarm = Farm.TestCase
TestFarm.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestFarmInPortions = FarmInPortions.TestCase
TestFarmInPortions.settings = TestFarm.settings
