"""Nights with a known truth: what was planted is found, and nothing else is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.analysis.quantities import quantity
from farm.analysis.regression import Change, ChangeKind, Examination, FindingKind, Line, examine
from farm.analysis.regression.changepoint import last_step
from farm.analysis.regression.grid import grid, limit
from farm.analysis.regression.noise import noise
from farm.errors import InternalError, UserError
from farm.types import AlertRule, Baseline
from tests.unit.analysis.simulated import Fleet, Noise, fleet, lines, until

RULES = (AlertRule(metric="latency_p50", max_change_ratio=0.03), AlertRule(metric="accuracy", max_drop=0.01))
DEVICES, VARIANTS, NIGHTS = 8, 6, 24
LAST = NIGHTS - 1
USUAL, WINDOW = Noise(), Baseline()


def small(noise: Noise = USUAL, seed: int = 1, nights: int = NIGHTS) -> Fleet:
    return fleet(DEVICES, VARIANTS, nights, noise, seed)


def examined(made: Fleet | list[Line], baseline: Baseline = WINDOW) -> Examination:
    return examine(lines(made) if isinstance(made, Fleet) else made, RULES, baseline)


def change(found: Examination, device: int, variant: int, metric: str = "latency_p50") -> Change:
    return next(
        each
        for each in found.changes
        if (each.key.device, each.key.variant, each.key.metric) == (f"phone-{device:03d}", f"variant-{variant}", metric)
    )


def told(found: Examination) -> list[tuple[str, str, str | None, str | None]]:
    return [(str(each.kind), str(each.scope), each.device, each.variant) for each in found.findings]


@pytest.mark.parametrize("tails", [5.0, 30.0])
@pytest.mark.parametrize("mode", ["window", "last-trusted"])
def test_quiet_nights_are_quiet(tails: float, mode: str) -> None:
    """At most 0.1 false suspicions a night are expected of so few comparisons, each with a p-value of 0.001 at most: in
    4 nights, 3 or more come by chance once in 100."""
    all_nights = lines(small(Noise(tails=tails)))
    found = [examined(until(all_nights, night), Baseline(mode=mode)) for night in range(LAST - 3, NIGHTS)]  # type: ignore[arg-type]
    assert sum(len(each.findings) for each in found) < 3


def test_ten_percent_show_at_once_with_all_that_is_known_of_them() -> None:
    made = small(Noise(tails=30))
    made.seconds[2, 3, LAST] *= 1.10
    found = examined(made)
    assert told(found) == [("regressed", "series", "phone-002", "variant-3")]
    (finding,) = found.findings
    assert finding.metrics == ("latency_p50",)
    assert finding.affected == ("phone-002",)
    assert len(finding.unaffected) == DEVICES - 1
    (member,) = finding.members
    assert member.own_change is not None and member.own_change.low < 1.10 < member.own_change.high
    assert member.before is not None and member.now is not None and member.change is not None
    assert member.change.value == pytest.approx(member.now.value / member.before.value, rel=0.02)
    assert member.baseline == "the median of 14 trusted results of the last 14 nights"
    assert member.noise_ratio is not None and 0.015 < member.noise_ratio < 0.06  # 2.77 x hypot(0.6 %, 0.8 %)
    assert member.p_value is not None and member.p_value < 0.2
    before = lines(made)[2 * VARIANTS + 3].points[LAST - 1]
    assert before is not None and member.baseline_job_id == before.job_id
    assert "+10" in finding.text or "+9" in finding.text


def test_three_percent_show_after_a_few_nights_and_since_when() -> None:
    made = small(Noise(tails=8))
    made.seconds[2, 3, LAST - 4 :] *= 1.03
    found = examined(made)
    assert told(found) == [("regressed", "series", "phone-002", "variant-3")]
    first = lines(made)[2 * VARIANTS + 3].points[LAST - 4]
    assert first is not None and found.findings[0].since == first.measured_at
    before = lines(made)[2 * VARIANTS + 3].points[LAST - 5]
    assert before is not None and found.findings[0].members[0].baseline_job_id == before.job_id


def test_what_the_noise_hides_is_not_called_steady() -> None:
    made = small(Noise(own=0.05))
    made.seconds[2, 3, LAST] *= 1.03
    found = examined(made)
    assert found.findings == ()
    hidden = change(found, 2, 3)
    assert hidden.kind is ChangeKind.UNCLEAR
    assert hidden.smallest_ratio is not None and hidden.smallest_ratio > 0.1
    assert "noise hides it" in hidden.reasons[0]
    assert change(found, 2, 3, "accuracy").kind is ChangeKind.STEADY


def test_a_drop_of_accuracy_is_told_as_a_difference() -> None:
    made = small()
    made.accuracy[4, 1, LAST] -= 0.03
    (finding,) = examined(made).findings
    assert (finding.kind, finding.device, finding.metrics) == (FindingKind.REGRESSED, "phone-004", ("accuracy",))
    assert finding.change is not None and finding.change.value == pytest.approx(-0.03)
    made.accuracy[4, 1, LAST] += 0.025  # half a hundredth less than before: below the limit
    assert examined(made).findings == ()


def test_a_noisy_phone_is_one_finding_and_no_regression() -> None:
    made = small()
    made.seconds[5] *= np.exp(0.05 * np.random.default_rng(2).standard_normal((VARIANTS, NIGHTS)))
    found = examined(made)
    assert told(found) == [("noisy", "device", "phone-005", None)]
    ratio = found.noise["phone-005", "latency_p50"]
    assert 0.08 < ratio < 0.25  # 95 % of pairs with 5 % of noise each differ by less than 15 %
    assert ratio > 3 * found.noise["phone-004", "latency_p50"]
    assert found.quiet == {f"phone-{device:03d}" for device in range(DEVICES)} - {"phone-005"}
    (finding,) = found.findings
    assert finding.affected == ("phone-005",), "by the series that differs most"


def test_a_phone_that_has_been_quiet_for_ten_nights_is_not_noisy() -> None:
    made = small()
    made.seconds[5, :, : LAST - 10] *= np.exp(0.05 * np.random.default_rng(2).standard_normal((VARIANTS, LAST - 10)))
    found = examined(made)
    assert found.of(FindingKind.NOISY) == ()
    assert "phone-005" in found.quiet


@pytest.mark.parametrize("whole_phone", [0.9, 1.0, 1.15])
def test_what_a_series_did_of_its_own_is_told_from_what_its_phone_did(whole_phone: float) -> None:
    made = small(Noise(own=0.002, tails=30))
    made.seconds[2, :, LAST] *= whole_phone
    made.seconds[2, 3, LAST] *= 1.05
    mine = change(examined(made), 2, 3)
    assert mine.own_now is not None and mine.own_before is not None
    assert mine.own_now / mine.own_before == pytest.approx(1.05, abs=0.015)
    few = change(examined(fleet(4, 3, NIGHTS)), 2, 1)
    assert few.own_now is None, "three variants do not tell what their phone did"


def test_a_phone_that_turns_noisy_tonight_raises_no_alarm() -> None:
    made = fleet(4, 20, NIGHTS, Noise(), 3)
    made.seconds[1, :, LAST] *= np.exp(0.05 * np.random.default_rng(2).standard_normal(20))
    assert [each for each in told(examined(made)) if each[0] == "regressed"] == []


def test_a_device_that_changed_at_once_is_one_finding() -> None:
    made = small()
    made.seconds[6, :, LAST] *= 1.25
    found = examined(made)
    assert told(found) == [("regressed", "device", "phone-006", None)]
    assert len(found.findings[0].members) == VARIANTS
    assert found.findings[0].change is not None and 1.15 < found.findings[0].change.value < 1.35


def test_a_variant_that_changed_everywhere_is_one_finding_also_where_no_phone_alone_shows_it() -> None:
    made = fleet(20, VARIANTS, NIGHTS, Noise(own=0.012, tails=30), 4)
    made.seconds[:, 2, LAST] *= 1.035
    found = examined(made)
    assert told(found) == [("regressed", "variant", None, "variant-2")]
    assert len(found.findings[0].affected) > 12


def test_a_night_on_which_everything_is_slower_is_one_finding() -> None:
    made = small()
    made.seconds[:, :, LAST] *= 1.3
    assert told(examined(made)) == [("regressed", "night", None, None)]


def test_improvements_are_kept_apart() -> None:
    made = small(Noise(tails=30))
    made.seconds[2, 3, LAST] *= 0.85
    found = examined(made)
    assert told(found) == [("improved", "series", "phone-002", "variant-3")]
    assert found.of(FindingKind.REGRESSED) == ()


def test_missing_results_are_told_by_their_scope() -> None:
    made = small()
    one = lines(made, absent=lambda device, variant, night: (device, variant, night) == (1, 2, LAST))
    assert told(examined(one)) == [("missing", "series", "phone-001", "variant-2")]
    assert "no result tonight; there was one on 14 of the 14 nights before" in examined(one).findings[0].text
    phone = lines(made, absent=lambda device, variant, night: (device, night) == (1, LAST))
    assert told(examined(phone)) == [("missing", "device", "phone-001", None)]
    night = lines(made, absent=lambda device, variant, night: night == LAST)
    assert told(examined(night)) == [("missing", "night", None, None)]
    assert examined(night).findings[0].metrics == ()


def test_what_was_seldom_there_is_not_missed_and_a_night_off_is_no_absence() -> None:
    made = small()
    seldom = lines(made, absent=lambda device, variant, night: (device, variant) == (1, 2) and night % 3 > 0)
    assert told(examined(seldom)) == []
    off = lines(made, absent=lambda device, variant, night: night in (LAST - 2, LAST - 1))
    assert told(examined(off)) == []


def test_untrusted_results_are_no_baseline_and_no_regression() -> None:
    made = small()
    made.seconds[2, 3, LAST - 6 : LAST] *= 3
    wild = lines(
        made, untrusted=lambda device, variant, night: (device, variant) == (2, 3) and LAST - 6 <= night < LAST
    )
    assert told(examined(wild)) == []
    assert change(examined(wild), 2, 3).baseline == "the median of 8 trusted results of the last 14 nights"
    made.seconds[2, 3, LAST] *= 3
    tonight = lines(made, untrusted=lambda device, variant, night: (device, variant) == (2, 3) and night >= LAST - 6)
    suspect = change(examined(tonight), 2, 3)
    assert suspect.kind is ChangeKind.UNCLEAR
    assert suspect.reasons == ("tonight's result is suspect: throttled",)


def test_the_first_nights_say_that_they_say_nothing() -> None:
    for nights in (1, 2, 3):
        found = examined(small(nights=nights))
        assert found.findings == ()
        assert {each.kind for each in found.changes if each.key.metric == "latency_p50"} <= {ChangeKind.UNCLEAR}
    assert change(examined(small(nights=3)), 0, 0).reasons[0].startswith("too few trusted nights before")


@pytest.mark.parametrize("mode", ["last-trusted", "pinned"])
def test_other_baselines(mode: str) -> None:
    made = small(Noise(tails=30))
    made.seconds[2, 3, LAST] *= 1.12
    baseline = Baseline(mode="pinned", run_id=4) if mode == "pinned" else Baseline(mode="last-trusted")
    pinned = [replace(line, pinned=line.points[3]) for line in lines(made)]
    found = examined(pinned, baseline)
    assert told(found) == [("regressed", "series", "phone-002", "variant-3")]
    (member,) = found.findings[0].members
    point = pinned[2 * VARIANTS + 3].points[3 if mode == "pinned" else LAST - 1]
    assert point is not None
    assert member.baseline_job_id == point.job_id
    assert member.before == point.figures["latency_p50"]
    assert member.baseline.startswith(
        "the result of run 4" if mode == "pinned" else "the last trusted result, of 2026-"
    )


def test_noise_is_that_of_repeats_of_one_artifact() -> None:
    """A model that gets faster every week is not noisy: what differs between artifacts is no noise."""
    made = fleet(4, VARIANTS, 28, Noise(tails=30), 5)
    made = replace(made, seconds=made.seconds * np.exp(-0.1 * (np.arange(28) // 7)))
    weekly = grid(lines(made, build=lambda variant, night: f"{variant} {night // 7}"), quantity("latency_p50"))
    found = noise(weekly)
    assert found.from_repeats
    assert np.median(found.own) == pytest.approx(np.hypot(0.006, 0.002), rel=0.35)
    other = noise(grid(lines(made, build=lambda variant, night: f"{variant} {night}"), quantity("latency_p50")))
    assert not other.from_repeats


def test_a_step_is_placed() -> None:
    values = np.random.default_rng(0).standard_normal(30)
    assert last_step(values, 1.0, 14) is None
    values[24:] += 5
    values[10] = np.nan
    step = last_step(values, 1.0, 14)
    assert step is not None and (step.column, step.after, step.before) == (24, 6, 14)
    assert step.size == pytest.approx(5, abs=1.5)
    values[12:] += 5 * (np.arange(18) < 12)
    assert last_step(values, 1.0, 14) is None  # it came 18 nights ago: no news


@settings(max_examples=10, deadline=None)
@given(factor=st.floats(1e-3, 1e3), seed=st.integers(0, 5))
def test_neither_the_unit_nor_the_order_matters(factor: float, seed: int) -> None:
    made = fleet(3, 5, 16, Noise(), seed)
    made.seconds[1, 2, 15] *= 1.2
    plain = {each.key: each.kind for each in examined(made).changes}
    scaled = replace(made, seconds=made.seconds * factor)
    assert {each.key: each.kind for each in examined(list(reversed(lines(scaled)))).changes} == plain


def test_a_rule_has_to_say_how_much() -> None:
    assert limit(AlertRule(metric="throughput", max_change_ratio=0.1), quantity("throughput")) == pytest.approx(
        0.10536, abs=1e-5
    )
    for rule, said in (
        (AlertRule(metric="latency_p50", max_drop=0.1), "has no max_change_ratio"),
        (AlertRule(metric="throughput", max_change_ratio=1.5), "max_change_ratio below 1"),
        (AlertRule(metric="accuracy", max_change_ratio=0.1), "has no max_drop"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            examine(lines(small(nights=3)), [rule], Baseline())
        assert caught.value.remedy


def test_lines_of_different_lengths_are_a_mistake_of_ours() -> None:
    some = lines(small(nights=3))
    with pytest.raises(InternalError):
        examine([*some, replace(some[0], points=some[0].points[:2])], RULES, Baseline())
    assert examine([], RULES, Baseline()).findings == ()
