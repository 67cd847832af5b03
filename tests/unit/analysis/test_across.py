"""Means over devices: what scaling, swapping and failing do to them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.analysis.comparison import Comparison
from farm.analysis.overall import geometric_mean, like_these, student_t
from farm.errors import NotFoundError, UserError
from farm.types import VerdictLevel
from tests.unit.analysis.lab import estimate, lab, outcome
from tests.unit.analysis.outcomes import run

VARIANTS = ("pytorch", "onnxruntime", "litert")
seconds = st.floats(1e-4, 10.0)
tables = st.dictionaries(
    st.sampled_from(("a", "b", "c", "d", "e")), st.fixed_dictionaries(dict.fromkeys(VARIANTS, seconds)), min_size=1
)
near = pytest.approx


@given(tables, st.sampled_from(("a", "b", "c", "d", "e")), st.floats(0.01, 100))
def test_a_device_that_is_slower_at_everything_changes_nothing(table, which, factor):
    scaled = {
        device: {name: value * factor if device == which else value for name, value in line.items()}
        for device, line in table.items()
    }
    one, other = lab(table).across(), lab(scaled).across()
    for mean in one.means:
        there = other[mean.variant].here
        assert (there.value, there.low, there.high) == near((mean.here.value, mean.here.low, mean.here.high))


@given(tables)
def test_swapping_variant_and_baseline_inverts(table):
    comparison = lab(table)
    there = comparison.across(baseline="litert")["onnxruntime"]
    back = comparison.across(baseline="onnxruntime")["litert"]
    assert back.here.value == near(1 / there.here.value)
    assert (back.here.low, back.here.high) == near((1 / there.here.high, 1 / there.here.low))
    if there.like_these and back.like_these:
        assert back.like_these.low == near(1 / there.like_these.high)


@given(tables)
def test_going_over_a_third_variant_gives_the_same_mean(table):
    comparison = lab(table)
    direct = comparison.across(baseline="pytorch")["litert"].here.value
    over = comparison.across(baseline="onnxruntime")
    assert direct == near(over["litert"].here.value / over["pytorch"].here.value)


def test_more_devices_make_the_mean_surer_and_their_spread_does_not():
    few, many = (geometric_mean([estimate(2.0)] * count) for count in (4, 16))
    assert math.log(few.high / few.low) == near(2 * math.log(many.high / many.low))
    spread = [estimate(value, 1e-6) for value in (1.0, 2.0, 4.0)]
    here, alike = geometric_mean(spread), like_these(spread, 0.95)
    half = student_t(0.95, 2) * math.log(2) / math.sqrt(3)
    assert (here.value, alike.low, alike.high) == near((2.0, 2 * math.exp(-half), 2 * math.exp(half)))
    assert here.high / here.low < 1.00001


@given(st.lists(seconds, min_size=2, max_size=8), st.floats(0.001, 0.5))
def test_of_other_devices_nothing_is_surer_than_of_these(values, spread):
    figures = [estimate(value, spread) for value in values]
    here, alike = geometric_mean(figures), like_these(figures, 0.95)
    assert alike.low <= here.low <= here.value <= here.high <= alike.high


@given(st.floats(0.5, 0.999), st.integers(1, 60))
def test_students_t_is_that_of_scipy(confidence, freedom):
    stats = pytest.importorskip("scipy.stats")
    assert student_t(confidence, freedom) == near(stats.t.ppf((1 + confidence) / 2, freedom), rel=1e-6)


FLEET = {
    "fast": {"pytorch": 0.010, "onnxruntime": 0.005, "litert": 0.004},
    "middle": {"pytorch": 0.020, "onnxruntime": 0.010, "litert": 0.008},
    "slow": {"pytorch": 0.100, "onnxruntime": 0.100},
}


def test_a_variant_that_fails_on_slow_phones_does_not_look_fast():
    found = lab(FLEET).across()
    assert found.devices == ("fast", "middle")
    assert found["onnxruntime"].here.value == near(2.0)
    assert found.pairing.left_devices == {"slow": "litert failed (build-failed)"}
    without = lab(FLEET).across(variants=["pytorch", "onnxruntime"])
    assert without.devices == ("fast", "middle", "slow")
    assert without["onnxruntime"].here.value == near(4 ** (1 / 3))
    with pytest.raises(NotFoundError):
        without["litert"]


def test_one_that_fails_nearly_everywhere_takes_no_devices_with_it():
    rare = {**FLEET, "slow": {"pytorch": 0.1, "onnxruntime": 0.1}, "old": {"pytorch": 1.0, "onnxruntime": 1.0}}
    rare["middle"] = {"pytorch": 0.02, "onnxruntime": 0.01}
    found = lab(rare).across()
    assert len(found.devices) == 4
    assert found.pairing.left_variants["litert"].startswith("a figure on 1 of 4 devices: failed (build-failed) on")
    assert "Left out: variant litert" in str(found)


def test_a_device_without_a_baseline_is_left_out_and_told():
    found = lab({**FLEET, "odd": {"onnxruntime": 0.1, "litert": 0.1}}).across()
    assert "odd" not in found.devices
    assert "odd" in found.pairing.left_devices


def test_of_two_devices_nothing_is_said_of_others():
    found = lab({name: FLEET[name] for name in ("fast", "middle")}).across()
    assert [mean.like_these for mean in found.means] == [None] * 3
    assert "a spread between devices takes 3" in str(found)


def test_suspect_results_are_marked_or_left_out_and_invalid_ones_never_count():
    line = [outcome(name, on, 0.01, id=i) for i, (name, on) in enumerate([("pytorch", "a"), ("pytorch", "b")], 1)]
    doubtful = outcome("litert", "a", 0.005, id=8, level=VerdictLevel.SUSPECT)
    wrong = outcome("litert", "b", 0.001, id=9, level=VerdictLevel.INVALID)
    found = Comparison([*line, doubtful, wrong]).across()
    assert found.devices == ("a",)
    assert found["litert"].suspect == ("a",)
    assert found["pytorch"].suspect == ()
    assert Comparison([*line, doubtful, wrong]).across(trusted_only=True).devices == ("a", "b")  # of pytorch alone


def test_virtual_devices_are_never_among_real_ones():
    real = [outcome(name, "phone", value, id=i) for i, (name, value) in enumerate([("pytorch", 2.0), ("litert", 1.0)])]
    made_up = [
        outcome(name, "fake", value, id=9 + i, virtual=True)
        for i, (name, value) in enumerate([("pytorch", 9.0), ("litert", 1.0)])
    ]
    both = Comparison([*real, *made_up], include_virtual=True).across()
    assert both.devices == ("phone",)
    assert not both.virtual
    alone = Comparison(made_up).across()
    assert alone.virtual
    assert "virtual" in str(alone)


def test_questions_that_have_no_answer_are_refused():
    comparison = lab(FLEET)
    for metric in ("accuracy", "parity_cosine", "speedup"):
        with pytest.raises(UserError):
            comparison.across(metric)
    with pytest.raises(UserError, match="no metric 'latency'"):
        comparison.across("latency")
    for wrong in ({"baseline": "tflite"}, {"variants": ["tflite"]}, {"scenario": "server"}):
        with pytest.raises(NotFoundError):
            comparison.across(**wrong)
    two = [outcome("pytorch", "a", 0.01, id=threads, threads=threads) for threads in (1, 2)]
    with pytest.raises(UserError, match="2 scenarios"):
        Comparison(two).across()
    assert Comparison(two).across(scenario="single-stream/2t").scenario == "single-stream/2t"
    models = [outcome("pytorch", "a", 0.01, id=number, run_id=number) for number in (1, 2)]
    with pytest.raises(UserError, match="2 models"):
        Comparison(models, runs=[run(1, "one"), run(2, "two")]).across()


def test_runs_of_one_model_stand_apart_where_a_device_has_both():
    rows = [
        outcome(name, "a", value, id=10 * number + index, run_id=number)
        for number in (1, 2)
        for index, (name, value) in enumerate([("pytorch", 0.01), ("litert", 0.01 / 2**number)])
    ]
    found = Comparison(rows, runs=[run(1), run(2)]).across()
    assert found["litert (run 1)"].here.value == near(2.0)
    assert found["litert (run 2)"].here.value == near(4.0)
