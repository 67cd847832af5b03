"""The health of devices: checks, the recovery ladder, quarantine, maintenance, reservations."""

from __future__ import annotations

import pytest

from farm.coordinator.events import (
    AttemptEnded,
    DeviceBlocked,
    DeviceChecked,
    DeviceFailed,
    DeviceLost,
    DeviceOrdered,
    DeviceReleased,
    DeviceRemembered,
    DeviceReserved,
    DeviceSeen,
    RunAdded,
)
from farm.coordinator.fleet import CHECKS_ONLY
from farm.coordinator.instructions import CheckDevice, Instruction, SetDevice, SetJob, StartAttempt, WithdrawAttempt
from farm.coordinator.state import FarmState
from farm.coordinator.views import BuildView, JobView
from farm.errors import AttemptInterrupted, DeviceError, InfrastructureError, RecipeError
from farm.types import BuildState, DeviceHealth, DeviceState, Failure, JobState, RecoveryStep

LOST = Failure.of(InfrastructureError("The cable is loose.", remedy="Push it in."))
CRASHED = Failure.of(DeviceError("The harness crashed.", remedy="Look at the model."))
ALL_STEPS: tuple[RecoveryStep, ...] = ("reconnect", "power-cycle", "reboot")


def seen(*steps: RecoveryStep, blocked: str = "") -> DeviceSeen:
    return DeviceSeen("a", "agent", "bench", blocked, steps)


def farm(*steps: RecoveryStep, jobs: int = 1) -> FarmState:
    """One device, which measures the first of some jobs of ada."""
    state = FarmState("head", 1)
    views = tuple(JobView(n, 1, "ada", "a", frozenset({"k"})) for n in range(1, jobs + 1))
    state.apply(RunAdded(1, views, (BuildView("k", BuildState.BUILT),)))
    state.apply(seen(*steps))
    state.apply(DeviceChecked("a", True, ""))
    assert state.devices["a"].holders == {1}
    return state


def started(out: list[Instruction]) -> list[int]:
    return [one.job_id for one in out if isinstance(one, StartAttempt)]


def check_of(out: list[Instruction]) -> str | None:
    steps = [one.step for one in out if isinstance(one, CheckDevice)]
    assert len(steps) <= 1
    return steps[0] if steps else None


def fail(state: FarmState) -> str | None:
    """The attempt on the device fails by the infrastructure; with what its next check begins."""
    (job_id,) = state.devices["a"].holders
    return check_of(state.apply(AttemptEnded(job_id, state.jobs[job_id].epoch, LOST)))


def test_a_device_that_appears_serves_once_it_has_passed_a_check() -> None:
    state = FarmState("head", 1)
    state.apply(RunAdded(1, (JobView(1, 1, "ada", "a", frozenset({"k"})),), (BuildView("k", BuildState.BUILT),)))
    out = state.apply(seen())
    assert check_of(out) == "check"
    assert not started(out)
    assert started(state.apply(DeviceChecked("a", True, "ran arithmetic"))) == [1]


def test_a_device_that_was_away_is_checked_again_but_not_one_that_measures() -> None:
    state = farm()
    state.apply(DeviceLost("a"))
    assert check_of(state.apply(seen())) is None
    state.apply(AttemptEnded(1, 1))
    state.apply(DeviceLost("a"))
    assert check_of(state.apply(seen())) == "check"


@pytest.mark.parametrize("failure", [LOST, CRASHED])
def test_after_a_failed_attempt_a_device_is_checked_before_it_goes_on(failure: Failure) -> None:
    state = farm(jobs=2)
    out = state.apply(AttemptEnded(1, 1, failure))
    assert check_of(out) == "check"
    assert not started(out)
    assert started(state.apply(DeviceChecked("a", True, "")))


@pytest.mark.parametrize(
    "failure",
    [
        Failure.of(AttemptInterrupted("Its agent was lost.", remedy="")),
        Failure.of(RecipeError("Wrong numbers.", remedy="")),
        None,
    ],
)
def test_what_is_not_the_devices_fault_does_not_hold_it_up(failure: Failure | None) -> None:
    assert started(farm(jobs=2).apply(AttemptEnded(1, 1, failure)))


def test_repeated_failures_climb_the_ladder_though_the_checks_pass() -> None:
    state = farm(*ALL_STEPS, jobs=5)
    steps = []
    while (step := fail(state)) is not None:
        steps.append(step)
        state.apply(DeviceChecked("a", True, ""))
    assert steps == ["check"] * CHECKS_ONLY + list(ALL_STEPS)
    assert state.devices["a"].health is DeviceHealth.BAD


def test_failed_checks_climb_the_ladder_and_skip_what_cannot_be_done_there() -> None:
    state = farm("reconnect", "reboot")
    assert fail(state) == "check"
    assert check_of(state.apply(DeviceChecked("a", False, "no answer"))) == "reconnect"
    assert check_of(state.apply(DeviceChecked("a", False, "no answer"))) == "reboot"
    out = state.apply(DeviceChecked("a", False, "still no answer"))
    assert check_of(out) is None
    assert SetDevice("a", DeviceState.ONLINE, DeviceHealth.BAD, "still no answer", 0, None) in out


@pytest.mark.parametrize("end", [AttemptEnded, DeviceReleased])
def test_a_measurement_that_succeeds_forgives_earlier_failures(end: type[AttemptEnded | DeviceReleased]) -> None:
    state = farm(*ALL_STEPS, jobs=9)
    for _ in range(2 * CHECKS_ONLY):
        assert fail(state) == "check"
        out = state.apply(DeviceChecked("a", True, ""))
        (job_id,) = started(out)
        state.apply(end(job_id, state.jobs[job_id].epoch))


@pytest.mark.parametrize("event", [DeviceOrdered("a", "check"), DeviceOrdered("a", "resume")])
def test_a_bad_device_returns_by_a_check_that_passes_and_by_nothing_else(event: DeviceOrdered) -> None:
    state = farm()
    fail(state)
    state.apply(DeviceChecked("a", False, "no answer"))
    state.apply(seen(blocked="charging"))
    state.apply(seen())
    assert state.devices["a"].health is DeviceHealth.BAD
    assert check_of(state.apply(event)) == "check"
    assert started(state.apply(DeviceChecked("a", True, ""))) == [1]


def test_a_bad_device_that_is_plugged_in_anew_is_checked() -> None:
    state = farm()
    fail(state)
    state.apply(DeviceChecked("a", False, "no answer"))
    state.apply(DeviceLost("a"))
    assert check_of(state.apply(seen())) == "check"


def test_a_looping_device_is_checked_again_and_again_whatever_comes_out_and_takes_no_job() -> None:
    state = farm(jobs=2)
    state.apply(AttemptEnded(1, 1))
    state.apply(AttemptEnded(2, 1))
    out = state.apply(DeviceOrdered("a", "loop"))
    for passed in (True, False, True):
        assert [one.looping for one in out if isinstance(one, CheckDevice)] == [True]
        out = state.apply(DeviceChecked("a", passed, "looked"))
    assert state.devices["a"].health_reason == "passed: looked"
    assert not state.devices["a"].in_service


def test_a_drained_device_finishes_what_it_measures_and_gets_no_more() -> None:
    state = farm(jobs=2)
    assert not any(isinstance(one, WithdrawAttempt) for one in state.apply(DeviceOrdered("a", "drain", "new battery")))
    assert state.devices["a"].state is DeviceState.LEASED
    out = state.apply(AttemptEnded(1, 1))
    assert not started(out)
    assert SetDevice("a", DeviceState.MAINTENANCE, DeviceHealth.GOOD, "", 0, "new battery") in out
    assert check_of(state.apply(DeviceOrdered("a", "resume"))) == "check"
    assert started(state.apply(DeviceChecked("a", True, ""))) == [2]


def test_a_device_taken_at_once_gives_its_job_back_to_the_queue() -> None:
    state = farm()
    out = state.apply(DeviceOrdered("a", "maintain", "it smokes"))
    assert WithdrawAttempt(1, 1) in out
    assert [one.state for one in out if isinstance(one, SetJob)] == [JobState.QUEUED]
    assert state.devices["a"].state is DeviceState.MAINTENANCE
    assert state.apply(AttemptEnded(1, 1)) == [], "what it measured in spite of that is late"


def test_a_reserved_device_goes_on_with_the_jobs_of_who_reserved_it_only() -> None:
    state = farm(jobs=2)
    bobs = JobView(3, 2, "bob", "a", frozenset({"k"}))
    state.apply(RunAdded(2, (bobs,), (BuildView("k", BuildState.BUILT),)))
    assert state.devices["a"].holders == {1}, "a measurement is not interrupted"
    state.apply(DeviceReserved("a", "bob"))
    assert started(state.apply(DeviceReleased(1, 1))) == [3]
    assert not started(state.apply(AttemptEnded(3, 1)))
    assert started(state.apply(DeviceReserved("a", None))) == [2]


def test_a_blocked_device_waits_until_its_agent_says_otherwise() -> None:
    state = farm(jobs=2)
    state.apply(DeviceBlocked("a", "too hot: 41.2 °C > 35 °C"))
    assert not started(state.apply(AttemptEnded(1, 1)))
    assert started(state.apply(seen())) == [2]


def test_a_hook_that_fails_after_the_measurement_is_the_devices_matter_not_the_jobs() -> None:
    state = farm(jobs=2)
    state.apply(DeviceFailed("a", LOST))
    out = state.apply(DeviceReleased(1, 1))
    assert check_of(out) == "check"
    assert not started(out)
    assert SetJob(1, JobState.FINISHED, 1) in state.apply(AttemptEnded(1, 1))
    assert state.devices["a"].failures == 1, "it is counted though the measurement succeeded"
    assert started(state.apply(DeviceChecked("a", True, ""))) == [2]


def test_a_new_coordinator_remembers_who_is_out_of_service() -> None:
    state = FarmState("head", 1)
    state.apply(DeviceRemembered("a", DeviceHealth.BAD, "no answer", 0, "new battery"))
    assert check_of(state.apply(seen())) is None
    assert state.devices["a"].state is DeviceState.MAINTENANCE
    assert check_of(state.apply(DeviceOrdered("a", "resume"))) == "check"


def test_an_answer_to_a_check_that_was_given_up_changes_nothing() -> None:
    state = FarmState("head", 1)
    state.apply(seen())
    state.apply(DeviceLost("a"))
    assert state.apply(DeviceChecked("a", True, "")) == []
    assert state.devices["a"].health is DeviceHealth.UNKNOWN
