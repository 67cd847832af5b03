"""Why a job waits, in words."""

from __future__ import annotations

from farm.coordinator.events import AgentLost, AttemptEnded, BuildEnded, DeviceReleased, DeviceSeen, RunAdded
from farm.coordinator.explanation import explain
from farm.coordinator.state import FarmState
from farm.coordinator.views import BuildView, JobView
from farm.types import BuildState, Priority


def submit(
    state: FarmState, number: int, user: str, device: str = "a", key: str = "k", priority: Priority = "normal"
) -> None:
    """A run with one job, both of this number, whose build is there already unless its key is another."""
    build = BuildView(key, BuildState.BUILT if key == "k" else BuildState.PENDING)
    state.apply(RunAdded(number, (JobView(number, number, user, device, frozenset({key}), priority),), (build,)))


def farm(quota: int | None = None) -> FarmState:
    state = FarmState("head", 1, quota)
    state.apply(DeviceSeen("a", "agent", "bench"))
    return state


def test_a_job_waits_for_its_builds() -> None:
    state = farm()
    submit(state, 1, "ada", key="k1")
    submit(state, 2, "ada", key="k2")
    assert explain(state, 1) == "waits for build k1, which is building"
    assert explain(state, 2, 10) == "waits for build k2, which is pending"


def test_builds_wait_for_what_is_measured_on_their_machine() -> None:
    state = farm()
    state.apply(DeviceSeen("head-cpu", "local", "head"))
    submit(state, 1, "ada", "head-cpu")
    submit(state, 2, "ada", key="k2")
    assert explain(state, 2) == "waits for build k2, which is pending; for head-cpu on the build host, which measures"


def test_a_job_waits_for_those_ahead_of_it_and_says_how_long() -> None:
    state = farm()
    submit(state, 1, "ada")
    for number in (2, 3, 4):
        submit(state, number, "ada")
    submit(state, 5, "bob")
    submit(state, 6, "cleo", priority="interactive")
    assert explain(state, 1) == "a is leased to it, attempt 1"
    assert explain(state, 6, 10) == "waits: a is leased to job 1 of run 1; starts in about 10 s"
    assert "; 1 job is ahead of it on a; starts in about 20 s" in explain(state, 2, 10)
    assert "; 2 jobs are ahead of it on a; starts in about 30 s" in explain(state, 5, 10), "users take turns"
    assert "; 4 jobs are ahead of it on a; starts in about 50 s" in explain(state, 4, 10)
    state.apply(DeviceReleased(1, 1))
    assert explain(state, 1) == "does not wait: a has measured, the result is being worked out"
    state.apply(AttemptEnded(1, 1))
    assert "it has ended" in explain(state, 1)
    assert "leased to job 6 of run 6; starts in about 10 s" in explain(state, 2, 10)


def test_a_job_waits_for_a_device_that_is_away_and_nobody_says_how_long() -> None:
    state = farm()
    submit(state, 1, "ada", "b")
    assert explain(state, 1, 10) == "waits: no agent has reported b yet"
    state.apply(AgentLost("agent"))
    submit(state, 2, "ada", "a")
    assert explain(state, 2, 10) == "waits: a is offline"


def test_a_job_waits_for_the_builds_of_its_machine() -> None:
    state = farm()
    state.apply(DeviceSeen("head-cpu", "local", "head"))
    submit(state, 1, "ada", key="k1")
    submit(state, 2, "ada", "head-cpu")
    assert explain(state, 2, 10) == "waits: the machine of head-cpu is building"
    state.apply(BuildEnded("k1"))
    assert explain(state, 2) == "head-cpu is leased to it, attempt 1"


def test_a_job_waits_for_its_users_quota() -> None:
    state = farm(quota=1)
    state.apply(DeviceSeen("b", "agent", "bench"))
    submit(state, 1, "ada", "a")
    submit(state, 2, "ada", "b")
    assert explain(state, 2, 10) == "waits: ada has 1 of at most 1 devices"
