"""Why a job waits, in words."""

from __future__ import annotations

from farm.coordinator.events import (
    AgentLost,
    AttemptEnded,
    BuildEnded,
    DeviceChecked,
    DeviceOrdered,
    DeviceReleased,
    DeviceReserved,
    DeviceSeen,
    RunAdded,
)
from farm.coordinator.explanation import Explanation, explain
from farm.coordinator.state import FarmState
from farm.coordinator.views import BuildView, JobView
from farm.errors import InfrastructureError
from farm.types import BuildState, Failure, Priority
from tests.unit.coordinator.devices import FixedPace, bring

TEN_SECONDS = FixedPace(job=10, held=4)


def submit(
    state: FarmState,
    number: int,
    user: str,
    device: str = "a",
    key: str = "k",
    priority: Priority = "normal",
    pool: tuple[str, ...] = (),
) -> None:
    """A run with one job, both of this number, whose build is there already unless its key is another."""
    build = BuildView(key, BuildState.BUILT if key == "k" else BuildState.PENDING)
    job = JobView(number, number, user, device, frozenset({key}), priority, pool=0 if pool else None)
    state.apply(RunAdded(number, (job,), (build,), {0: pool} if pool else {}))


def farm(quota: int | None = None) -> FarmState:
    state = FarmState("head", 1, quota)
    bring(state, "a")
    return state


def told(state: FarmState, job_id: int) -> Explanation:
    return explain(state, job_id, TEN_SECONDS)


def test_a_job_waits_for_its_builds() -> None:
    state = farm()
    submit(state, 1, "ada", key="k1")
    submit(state, 2, "ada", key="k2")
    assert told(state, 1) == Explanation("waits for build k1, which is building")
    assert told(state, 2) == Explanation("waits for build k2, which is pending")


def test_a_build_that_trains_what_another_trains_waits_for_it() -> None:
    state = FarmState("head", 3)
    bring(state, "a")
    jobs = [JobView(number, 1, "ada", "a", frozenset({key})) for number, key in ((1, "k1"), (2, "k2"), (3, "k3"))]
    state.apply(RunAdded(1, tuple(jobs), (BuildView("k1", student="s"), BuildView("k2", student="s"), BuildView("k3"))))
    assert told(state, 1) == Explanation("waits for build k1, which is building")
    assert told(state, 2) == Explanation("waits for build k2, which is pending while build k1 trains the same student")
    assert told(state, 3) == Explanation("waits for build k3, which is building")
    state.apply(BuildEnded("k1", None))
    assert told(state, 2) == Explanation("waits for build k2, which is building")


def test_builds_wait_for_what_is_measured_on_their_machine() -> None:
    state = farm()
    bring(state, "head-cpu", "local", "head")
    submit(state, 1, "ada", "head-cpu")
    submit(state, 2, "ada", key="k2")
    assert told(state, 2).text == "waits for build k2, which is pending; for head-cpu on the build host, which measures"


def test_a_job_waits_for_those_ahead_of_it_and_says_how_long() -> None:
    state = farm()
    submit(state, 1, "ada")
    for number in (2, 3, 4):
        submit(state, number, "ada")
    submit(state, 5, "bob")
    submit(state, 6, "cleo", priority="interactive")
    held = "waits: a is leased to job 1 of run 1 for about 6 s more"
    assert told(state, 1) == Explanation("a is leased to it, attempt 1")
    assert told(state, 6) == Explanation(held, 6)
    assert told(state, 2) == Explanation(f"{held}; 1 job is ahead of it on a", 16)
    assert told(state, 5) == Explanation(f"{held}; 2 jobs are ahead of it on a", 26), "users take turns"
    assert told(state, 4) == Explanation(f"{held}; 4 jobs are ahead of it on a", 46)
    assert explain(state, 4, FixedPace(None, 4)).starts_in_seconds is None, "nothing is known of how long a job takes"
    state.apply(DeviceReleased(1, 1))
    assert told(state, 1).text == "does not wait: a has measured, the result is being worked out"
    state.apply(AttemptEnded(1, 1))
    assert "it has ended" in told(state, 1).text
    assert told(state, 2) == Explanation("waits: a is leased to job 6 of run 6 for about 6 s more", 6)


def test_a_job_waits_for_a_device_that_is_away_and_nobody_says_how_long() -> None:
    state = farm()
    submit(state, 1, "ada", "b")
    assert told(state, 1) == Explanation("waits: b is not reported by an agent yet")
    state.apply(AgentLost("agent"))
    submit(state, 2, "ada", "a")
    assert told(state, 2) == Explanation("waits: a is offline")


def test_a_job_waits_for_a_device_that_is_out_of_service() -> None:
    state = farm()
    state.apply(DeviceReserved("a", "bob"))
    submit(state, 1, "ada")
    assert told(state, 1) == Explanation("waits: a is reserved for bob")
    state.apply(DeviceReserved("a", None))
    broken = Failure.of(InfrastructureError("The cable is loose.", remedy="Push it in."))
    state.apply(AttemptEnded(1, 1, broken))
    assert told(state, 1) == Explanation("waits: a is being checked (The cable is loose.)")
    state.apply(DeviceChecked("a", False, "no answer"))
    assert told(state, 1) == Explanation("waits: a is quarantined (no answer)")
    state.apply(DeviceOrdered("a", "loop"))
    state.apply(DeviceChecked("a", True, "answers"))
    assert told(state, 1) == Explanation("waits: a is checked in a loop (passed: answers)")
    state.apply(DeviceOrdered("a", "drain", "new battery"))
    assert told(state, 1) == Explanation("waits: a is in maintenance (new battery)")


def test_a_job_that_may_choose_says_what_is_the_matter_with_each_of_its_devices() -> None:
    state = farm()
    for id in "bcd":
        bring(state, id)
    state.apply(DeviceSeen("b", "agent", "bench", blocked="too hot: 41.2 °C > 35 °C"))
    for id in "cd":
        state.apply(DeviceOrdered(id, "drain", "moving house"))
    submit(state, 1, "bob")
    submit(state, 2, "ada", pool=("a", "b", "c", "d"))
    assert told(state, 2) == Explanation(
        "waits: 4 devices match: 2 in maintenance, 1 leased to job 1 of run 1 for about 6 s more, "
        "1 too hot: 41.2 °C > 35 °C",
        6,
    )


def test_a_job_waits_for_the_builds_of_its_machine() -> None:
    state = farm()
    bring(state, "head-cpu", "local", "head")
    submit(state, 1, "ada", key="k1")
    submit(state, 2, "ada", "head-cpu")
    assert told(state, 2) == Explanation("waits: head-cpu is on a machine that builds")
    state.apply(BuildEnded("k1"))
    assert told(state, 2).text == "head-cpu is leased to it, attempt 1"


def test_a_job_waits_for_its_users_quota() -> None:
    state = farm(quota=1)
    bring(state, "b")
    submit(state, 1, "ada", "a")
    submit(state, 2, "ada", "b")
    assert told(state, 2) == Explanation("waits: ada has 1 of at most 1 devices")
