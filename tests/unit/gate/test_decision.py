"""A gate passes only what is proved to be within its limits."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.analysis.difference import Difference
from farm.errors import UserError
from farm.gate.decision import Allowances, Exit, Finding, Gate, judge
from farm.gate.limit import Limit, parse
from farm.types import (
    Estimate,
    Evaluation,
    Failure,
    Job,
    JobOutcome,
    JobState,
    Reason,
    Result,
    Scenario,
    Verdict,
    VerdictLevel,
)
from tests.unit.analysis.outcomes import artifact, device, recipe, run, sha
from tests.values import result

P50 = parse("max-regression latency_p50=3%")
EVERYTHING = Allowances(suspect=True, missing=True, untold=True)


def verdict(level: VerdictLevel, code: str = "machine-busy") -> Verdict:
    reasons = () if level is VerdictLevel.TRUSTED else (Reason(code=code, level=level, text="why"),)
    return Verdict(level=level, reasons=reasons)


def outcome(
    run_id: int, name: str = "litert", on: str = "phone", virtual: bool = False, **changes: object
) -> JobOutcome:
    """With ``result=None`` of a job that ended without one: ``failure`` says why."""
    failure = changes.pop("failure", None)
    given: Result | None = None
    if "result" not in changes:
        given = result(1, **changes)
    job = Job(
        id=1,
        run_id=run_id,
        recipe=recipe(name),
        build_key=sha(f"{name} of {run_id}"),
        device_id=on,
        scenario=Scenario(),
        state=JobState.FINISHED if given else JobState.FAILED,
        failure=failure,
    )
    return JobOutcome(job=job, device=device(on, virtual=virtual), artifact=artifact(name), result=given)


def p50(value: float, half_width_ratio: float = 0.005) -> dict[str, object]:
    low, high = value * math.exp(-half_width_ratio), value * math.exp(half_width_ratio)
    return {"latency_seconds": {"p50": Estimate(value=value, low=low, high=high)}, "latency_mean_seconds": value}


def difference(before: list[JobOutcome], now: list[JobOutcome], **options: bool) -> Difference:
    return Difference(run(1, name="main"), run(2, name="pr"), before, now, **options)


def gate(before: JobOutcome | None, now: JobOutcome | None, *limits: Limit, allowed: Allowances | None = None) -> Gate:
    return judge(difference([before] * bool(before), [now] * bool(now)), limits or (P50,), allowed)


def only(found: Gate) -> Finding:
    (judgement,) = found.judgements
    return judgement.finding


@pytest.mark.parametrize(
    ("now", "half_width_ratio", "finding", "code"),
    [
        (0.0100, 0.005, Finding.WITHIN, Exit.PASS),
        (0.0050, 0.005, Finding.WITHIN, Exit.PASS),
        (0.0108, 0.005, Finding.WORSE, Exit.REGRESSION),
        (0.0102, 0.02, Finding.UNTOLD, Exit.UNTOLD),  # under the limit, but who knows
        (0.0104, 0.02, Finding.UNTOLD, Exit.UNTOLD),  # over it, but who knows
    ],
)
def test_the_interval_decides(now: float, half_width_ratio: float, finding: Finding, code: Exit) -> None:
    found = gate(outcome(1, **p50(0.010, half_width_ratio)), outcome(2, **p50(now, half_width_ratio)))
    assert (only(found), found.exit) == (finding, code)


def test_what_cannot_be_told_says_how_much_longer_to_measure_and_can_be_accepted() -> None:
    before, now = outcome(1, **p50(0.010, 0.05)), outcome(2, **p50(0.010, 0.05))
    (judgement,) = gate(before, now).judgements
    assert "times as long" in judgement.why
    found = gate(before, now, allowed=Allowances(untold=True))
    assert (only(found), found.exit) == (Finding.UNTOLD, Exit.PASS)
    assert "accepted without proof" in found.to_markdown()


def test_a_proved_regression_is_never_accepted() -> None:
    found = gate(outcome(1, **p50(0.010)), outcome(2, **p50(0.012)), allowed=EVERYTHING)
    assert found.exit is Exit.REGRESSION


@pytest.mark.parametrize(
    ("limit", "before", "now", "finding"),
    [
        ("max-regression throughput=5%", 0.010, 0.0104, Finding.WITHIN),
        ("max-regression throughput=5%", 0.010, 0.0106, Finding.WORSE),
        ("max-regression throughput=5%", 0.010, 0.0050, Finding.WITHIN),
        ("max latency_p50=11ms", 0.010, 0.0120, Finding.WORSE),
        ("max latency_p50=11ms", 0.020, 0.0100, Finding.WITHIN),
        ("min throughput=99/s", 0.010, 0.0100, Finding.WITHIN),
        ("min throughput=99/s", 0.010, 0.0120, Finding.WORSE),
    ],
)
def test_each_limit_in_its_direction(limit: str, before: float, now: float, finding: Finding) -> None:
    assert only(gate(outcome(1, **p50(before)), outcome(2, **p50(now)), parse(limit))) is finding


def accuracy(value: float, samples: int = 1000) -> Evaluation:
    figures = {"accuracy": value}
    return Evaluation(
        task="classification",
        samples=samples,
        score="accuracy",
        metrics=figures,
        reference_metrics=figures,
        confidence=0.95,
    )


@pytest.mark.parametrize(
    ("now", "samples", "finding"),
    [
        (0.745, 1000, Finding.WITHIN),
        (0.80, 1000, Finding.WITHIN),
        (0.735, 1000, Finding.WORSE),
        (0.75, 900, Finding.MISSING),  # of other samples: it is another question
        (math.nan, 1000, Finding.UNTOLD),
    ],
)
def test_scores_by_their_drop(now: float, samples: int, finding: Finding) -> None:
    before, after = (outcome(1, evaluation=accuracy(0.75)), outcome(2, evaluation=accuracy(now, samples)))
    found = gate(before, after, parse("max-drop accuracy=0.01"))
    assert only(found) is finding
    assert (found.exit is Exit.PASS) == (finding is Finding.WITHIN)


RECIPE = Failure(fault="recipe", code="build-failed", message="No such operator.", remedy="")
DEVICE = Failure(fault="device", code="measurement-failed", message="The phone went away.", remedy="")
SUSPECT = verdict(VerdictLevel.SUSPECT)
WRONG = verdict(VerdictLevel.INVALID, "parity-failed")
UNSEEN = verdict(VerdictLevel.INVALID, "parity-missing")


@pytest.mark.parametrize(
    ("before", "now", "finding", "default", "most_lenient"),
    [
        (outcome(1), None, Finding.MISSING, Exit.UNTOLD, Exit.UNTOLD),
        (None, outcome(2), Finding.MISSING, Exit.UNTOLD, Exit.UNTOLD),
        (outcome(1), outcome(2, result=None, failure=RECIPE), Finding.BROKEN, Exit.REGRESSION, Exit.REGRESSION),
        (outcome(1), outcome(2, result=None, failure=DEVICE), Finding.MISSING, Exit.UNTOLD, Exit.UNTOLD),
        (outcome(1), outcome(2, verdict=WRONG), Finding.BROKEN, Exit.REGRESSION, Exit.REGRESSION),
        (outcome(1), outcome(2, verdict=UNSEEN), Finding.UNTRUSTED, Exit.UNTOLD, Exit.UNTOLD),
        (outcome(1, verdict=WRONG), outcome(2), Finding.UNTRUSTED, Exit.UNTOLD, Exit.UNTOLD),
        (outcome(1, **p50(0.01), verdict=SUSPECT), outcome(2, **p50(0.01)), Finding.UNTRUSTED, Exit.UNTOLD, Exit.PASS),
        (outcome(1, **p50(0.01)), outcome(2, **p50(0.01), verdict=SUSPECT), Finding.UNTRUSTED, Exit.UNTOLD, Exit.PASS),
        (
            outcome(1, **p50(0.01)),
            outcome(2, **p50(0.02), verdict=SUSPECT),
            Finding.UNTRUSTED,
            Exit.UNTOLD,
            Exit.REGRESSION,
        ),
    ],
)
def test_nothing_passes_silently(before, now, finding: Finding, default: Exit, most_lenient: Exit) -> None:
    found = gate(before, now)
    assert (only(found), found.exit) == (finding, default)
    assert found.judgements[0].why
    assert gate(before, now, allowed=EVERYTHING).exit is most_lenient


def test_what_is_missing_beside_what_is_there_can_be_allowed() -> None:
    both = difference([outcome(1, "ncnn", **p50(0.01)), outcome(1)], [outcome(2, "ncnn", **p50(0.01))])
    assert judge(both, [P50]).exit is Exit.UNTOLD
    assert judge(both, [P50], Allowances(missing=True)).exit is Exit.PASS


def test_doubts_about_a_measurement_do_not_concern_the_size_of_a_file() -> None:
    before, now = outcome(1, artifact_bytes=1000, verdict=SUSPECT), outcome(2, artifact_bytes=1100, verdict=SUSPECT)
    size = parse("max-regression artifact_size=3%")
    assert only(gate(before, now, size)) is Finding.WORSE
    assert only(gate(before, before, size)) is Finding.WITHIN


def test_a_limit_that_nothing_meets_passes_nothing() -> None:
    energy = parse("max-regression energy=5%")
    found = gate(outcome(1, **p50(0.01)), outcome(2, **p50(0.01)), P50, energy, allowed=EVERYTHING)
    assert found.idle == (energy,)
    assert found.exit is Exit.UNTOLD
    assert "No row could be judged by max-regression energy" in found.to_markdown()


def test_an_empty_comparison_never_passes() -> None:
    assert judge(difference([], []), [P50], EVERYTHING).exit is Exit.UNTOLD
    with pytest.raises(UserError, match="without a limit"):
        judge(difference([], []), [])
    with pytest.raises(UserError, match="more than once"):
        judge(difference([], []), [P50, parse("max-regression latency_p50=4%")])


def test_virtual_devices_stand_in_for_no_real_one() -> None:
    virtual = {"on": "sim", "virtual": True}
    mixed = difference(
        [outcome(1, **p50(0.01)), outcome(1, **virtual, **p50(0.01))],
        [outcome(2, **p50(0.01)), outcome(2, **virtual, **p50(0.02))],
    )
    found = judge(mixed, [P50])
    assert (found.exit, mixed.left_out) == (Exit.PASS, 1)
    assert "Left out: 1 variants on virtual devices." in found.to_markdown()
    alone = judge(difference([outcome(1, **virtual, **p50(0.01))], [outcome(2, **virtual, **p50(0.02))]), [P50])
    assert alone.exit is Exit.REGRESSION
    assert "*(virtual)*" in alone.to_markdown()
    assert "simulated" in alone.to_markdown()
    became_real = difference([outcome(1, on="sim", virtual=True, **p50(0.01))], [outcome(2, on="sim", **p50(0.01))])
    assert judge(became_real, [P50], EVERYTHING).exit is Exit.UNTOLD


def test_noise_between_runs_widens_what_is_judged() -> None:
    before, now = outcome(1, **p50(0.010)), outcome(2, **p50(0.0106))
    assert only(gate(before, now)) is Finding.WORSE
    noisy = gate(before, now, allowed=Allowances(noise={"latency_p50": 0.04}))
    assert only(noisy) is Finding.UNTOLD
    assert "Scatter between runs, as given: latency_p50 0.04." in noisy.to_markdown()
    load = parse("max-regression load=3%")  # measured once: taken at its word, unless somebody knows better
    slow, fast = outcome(1, load_seconds=0.10), outcome(2, load_seconds=0.104)
    assert only(gate(slow, fast, load)) is Finding.WORSE
    assert only(gate(slow, fast, load, allowed=Allowances(noise={"load": 0.1}))) is Finding.UNTOLD


def test_the_same_artifact_is_said_to_be_the_same() -> None:
    before = outcome(1, **p50(0.010))
    now = outcome(2, **p50(0.012))
    now = now.model_copy(update={"job": now.job.model_copy(update={"build_key": before.job.build_key})})
    assert "byte for byte" in gate(before, now).judgements[0].why


def test_what_else_is_different_is_said() -> None:
    before = outcome(1, **p50(0.01), os_version="15", runtime_versions={"onnxruntime": "1.26"})
    now = outcome(2, **p50(0.01), os_version="16", runtime_versions={"onnxruntime": "1.27"})
    text = gate(before, now).to_markdown()
    assert "the device's system was 15 before and is 16 now" in text
    assert "onnxruntime 1.26 before, 1.27 now" in text
    energy = {"energy_joules": Estimate(value=0.2, low=0.19, high=0.21)}
    found = gate(
        outcome(1, **energy, energy_method="odpm"),
        outcome(2, **energy, energy_method="battery-current"),
        parse("max-regression energy=5%"),
    )
    assert only(found) is Finding.MISSING
    assert "by odpm before and by battery-current now" in found.to_markdown()


def test_markdown_holds_nothing_that_somebody_could_put_into_a_name() -> None:
    evil = "](http://evil) | <script>alert(1)</script> @everyone `x` **b** #1 ![i](http://e)\n# big"
    found = judge(
        Difference(run(1, name="main"), run(2, name=evil[:200]), [outcome(1, **p50(0.01))], [outcome(2, **p50(0.02))]),
        [P50],
    )
    text = found.to_markdown()
    for bad in ("](", "<script", "@everyone", "http:", "\n# big", "`x`", "**b**"):
        assert bad not in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in tables} == {10}


# --- properties --------------------------------------------------------------------------------------

seconds = st.floats(0.001, 1.0)
widths = st.floats(0.0, 0.1)
rows = st.lists(st.tuples(seconds, seconds, widths), min_size=1, max_size=6)
shares = st.floats(0.001, 0.9)
_RANK = {Exit.PASS: 0, Exit.UNTOLD: 1, Exit.REGRESSION: 2}


def rows_of(figures: list[tuple[float, float, float]]) -> Difference:
    before = [outcome(1, on=f"phone-{index}", **p50(old, width)) for index, (old, _, width) in enumerate(figures)]
    now = [outcome(2, on=f"phone-{index}", **p50(new, width)) for index, (_, new, width) in enumerate(figures)]
    return difference(before, now)


@settings(max_examples=60, deadline=None)
@given(rows, shares, shares)
def test_a_wider_limit_never_makes_it_worse(figures, one: float, other: float) -> None:
    both = rows_of(figures)
    tight, wide = (
        judge(both, [parse(f"max-regression latency_p50={share * 100:.6f}%")]) for share in sorted((one, other))
    )
    assert _RANK[wide.exit] <= _RANK[tight.exit]


@settings(max_examples=60, deadline=None)
@given(rows, shares)
def test_allowing_more_never_makes_it_worse(figures, share: float) -> None:
    limit = parse(f"max-regression latency_p50={share * 100:.6f}%")
    both = rows_of(figures)
    assert _RANK[judge(both, [limit], EVERYTHING).exit] <= _RANK[judge(both, [limit]).exit]


@settings(max_examples=60, deadline=None)
@given(seconds, seconds, widths)
def test_both_ways_round_the_change_is_the_same(old: float, new: float, width: float) -> None:
    one, other = outcome(1, **p50(old, width)), outcome(2, **p50(new, width))
    there = difference([one], [other]).pairs[0].change(P50.quantity).change
    back = difference([other], [one]).pairs[0].change(P50.quantity).change
    assert there is not None
    assert back is not None
    assert there.value * back.value == pytest.approx(1)
    assert there.low * back.high == pytest.approx(1)
    # Not both can have become worse.
    exits = {gate(one, other).exit, gate(other, one).exit}
    assert exits != {Exit.REGRESSION}


def test_many_rows_of_nothing_but_noise_rarely_fail() -> None:
    """Forty rows with no change and a limit of zero: some interval alone would fail in most gates."""
    chance = random.Random(5)  # noqa: S311
    deviation, alone, together = 0.01, 0, 0
    limit = parse("max-regression latency_p50=0%")
    for _ in range(200):
        figures = [
            (0.01 * math.exp(chance.gauss(0, deviation)), 0.01 * math.exp(chance.gauss(0, deviation)), 1.96 * deviation)
            for _ in range(40)
        ]
        found = judge(rows_of(figures), [limit])
        together += found.exit is Exit.REGRESSION
        alone += any((each.change.loss or Estimate(value=0, low=0, high=0)).low > 0 for each in found.judgements)
    assert alone > 100
    assert together < 12  # 2.5 % of 200 are 5
