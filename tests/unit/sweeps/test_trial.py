"""How much a night may have measured once more, and what many devices say together."""

from __future__ import annotations

from farm.sweeps.trial import TRIALS_PER_DEVICE, TRIALS_PER_REGRESSION, concluded, planned
from farm.types import Estimate, Evidence, Member, Origin, Regression, RegressionState, SeriesKey
from tests.values import NOW, sha256


def key(device: str, variant: str = "int8", metric: str = "latency_p50") -> SeriesKey:
    return SeriesKey(sweep="nightly", variant=variant, device=device, scenario="single-stream/1t", metric=metric)


def member(of: SeriesKey, change: float = 1.1, old: str = "v1", new: str = "v2") -> Member:
    def origin(version: str, job_id: int) -> Origin:
        build = sha256(version + of.variant)
        return Origin(job_id=job_id, run_id=1, night_id=1, model_id=sha256(version), build_key=build)

    return Member(
        key=of,
        change=Estimate(value=change, low=change - 0.01, high=change + 0.01),
        limit=0.03,
        noise_ratio=0.01,
        old=origin(old, 1),
        new=origin(new, 2),
    )


def suspect(id: int, *members: Member) -> Regression:
    return Regression(
        id=id,
        key=members[0].key,
        night_id=1,
        seen_night_id=1,
        state=RegressionState.SUSPECTED,
        members=members,
        created_at=NOW,
        changed_at=NOW,
    )


def evidence(device: str, outcome: RegressionState, metric: str = "latency_p50") -> Evidence:
    return Evidence(run_id=1, key=key(device, metric=metric), pairs=(), outcome=outcome, reason=f"{device} says so")


def test_the_worst_of_a_device_are_measured_and_the_others_say_so() -> None:
    suspects = [suspect(n, member(key("a", f"variant-{n}"), 1 + n / 20)) for n in range(1, 8)]
    plan = planned(suspects, {}, set())
    assert {trial.variant for trial in plan.trials} == {f"variant-{n}" for n in (4, 5, 6, 7)}
    assert len(plan.trials) == TRIALS_PER_DEVICE
    assert set(plan.refused) == {1, 2, 3}
    assert {state for state, _ in plan.refused.values()} == {RegressionState.UNCONFIRMED}


def test_a_regression_on_many_devices_is_measured_on_some_that_are_there() -> None:
    many = suspect(1, *(member(key(f"phone-{n}")) for n in range(50)))
    plan = planned([many], {}, {"phone-0", "phone-2"})
    assert {trial.device for trial in plan.trials} == {"phone-1", "phone-3", "phone-4"}
    assert len(plan.trials) == TRIALS_PER_REGRESSION


def test_metrics_of_a_series_share_its_pairs() -> None:
    both = suspect(1, member(key("a")), member(key("a", metric="accuracy"), -0.05))
    ((pairs, _),) = planned([both], {}, set()).trials.values()
    assert pairs >= 4, "as many as the one with noise needs"


def test_the_same_artifact_is_not_measured_against_itself() -> None:
    plan = planned([suspect(1, member(key("a"), new="v1"))], {}, set())
    assert plan.trials == {}
    assert plan.refused[1][0] is RegressionState.REFUTED


def test_what_is_gone_says_so() -> None:
    gone = {sha256("v1int8"): "its files are gone"}
    plan = planned([suspect(1, member(key("a")))], gone, set())
    assert plan.refused[1] == (RegressionState.UNCONFIRMED, "its files are gone")


def test_the_most_devices_decide_and_one_metric_is_enough() -> None:
    yes, no, unclear = RegressionState.CONFIRMED, RegressionState.REFUTED, RegressionState.UNCONFIRMED
    assert concluded([evidence("a", yes), evidence("b", yes), evidence("c", no)])[0] is yes
    assert concluded([evidence("a", yes), evidence("b", no)])[0] is unclear
    assert concluded([evidence("a", no), evidence("b", unclear)])[0] is no
    assert concluded([evidence("a", no), evidence("a", yes, "energy")])[0] is yes
    assert concluded([evidence("a", no), evidence("a", unclear, "energy")])[0] is unclear
    assert concluded([])[0] is unclear
