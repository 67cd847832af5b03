"""Which variant to ship where: what is kept, what is not known, and what one for all costs."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.analysis.comparison import Comparison
from farm.analysis.constraint import Constraint, Standing
from farm.analysis.quantities import compared
from farm.errors import UserError
from farm.types import Estimate, VerdictLevel
from tests.unit.analysis.lab import estimate, lab, outcome

NAMES = ("pytorch", "litert", "onnxruntime", "ncnn")
rows = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(("a", "b", "c")),
        st.floats(0.001, 1.0),
        st.sampled_from((0.0, 0.05, 0.5)),
        st.integers(1, 100),
        st.sampled_from(list(VerdictLevel)),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda row: row[:2],
)


def unwrapped(shown: object) -> str:
    """Terminals break lines where they end."""
    return " ".join(str(shown).split())


def comparison_of(found) -> Comparison:
    return Comparison(
        outcome(name, on, estimate(median, spread), id=id, size_bytes=size, level=level, soc=f"soc-{on > 'a'}")
        for id, (name, on, median, spread, size, level) in enumerate(found, 1)
    )


@given(rows, st.floats(0.001, 1.0), st.integers(1, 100), st.sampled_from(("device", "soc", "all")), st.booleans())
def test_what_is_shipped_certainly_keeps_every_constraint_on_every_device(found, slowest, largest, by, trusted_only):
    comparison = comparison_of(found)
    limits = {"latency_p50": f"<={slowest!r}", "artifact_size": f"<={largest}"}
    shipping = comparison.ship("latency_p50", limits, by=by, trusted_only=trusted_only)
    places = [*shipping.places, *([shipping.everywhere.place] if shipping.everywhere else [])]
    for place in places:
        for one in filter(None, (place.chosen, *place.rivals)):
            for device in place.devices:
                (row,) = (row for row in comparison.rows if (row.recipe, row.setting.device) == (one.variant, device))
                assert row.latency("p50").high <= slowest
                assert row.outcome.result.artifact_bytes <= largest
                assert row.level is VerdictLevel.TRUSTED or (not trusted_only and row.level is VerdictLevel.SUSPECT)
    json.dumps(shipping.to_dict(), allow_nan=False)
    assert str(shipping)
    assert shipping.to_markdown()


@given(rows)
def test_nothing_that_may_be_shipped_is_better_than_what_is(found):
    for place in comparison_of(found).ship("latency_p50", {"artifact_size": "<=50"}).places:
        able = [one for one in place.contenders if one.eligible]
        assert (place.chosen is not None) == bool(able)
        if place.chosen:
            assert place.chosen.figure.value == min(one.figure.value for one in able)


FLEET = {
    "a": {"pytorch": 0.020, "litert": 0.010, "ncnn": 0.0101},
    "b": {"pytorch": 0.080, "litert": 0.060, "ncnn": 0.040},
}


def test_each_device_gets_its_best_with_what_is_as_good():
    shipping = lab(FLEET).ship()
    assert [(place.name, place.chosen.variant) for place in shipping.places] == [("a", "litert"), ("b", "ncnn")]
    assert [rival.variant for rival in shipping.places[0].rivals] == ["ncnn"]
    assert shipping.complete


def test_one_variant_everywhere_and_what_it_costs():
    one = lab(FLEET).ship().everywhere
    assert one.place.chosen.variant == "ncnn"
    assert one.costs["a"].value == pytest.approx(1.01)
    assert one.costs["a"].low < 1 < one.costs["a"].high
    assert one.costs["b"] == Estimate(value=1, low=1, high=1)


def test_a_variant_that_fails_somewhere_is_not_for_everywhere():
    fleet = {**FLEET, "c": {"pytorch": 0.5, "litert": 0.4}}
    assert lab(fleet).ship().everywhere.place.chosen.variant == "litert"
    missing = lab({"a": {"litert": 0.1}, "b": {"litert": 0.1}, "c": {"ncnn": 0.1}}).ship().everywhere
    assert (missing.place.chosen, missing.most, missing.missing) == (None, "litert", ("c",))


def test_a_constraint_that_the_interval_does_not_keep_is_not_kept():
    shipping = lab({"a": {"litert": 0.0199, "pytorch": 0.010}}).ship("latency_p50", ["latency_p50<=20ms"])
    (place,) = shipping.places
    litert = next(one for one in place.contenders if one.variant == "litert")
    assert [str(breach) for breach in litert.breaches] == [
        "p50 latency is 19.90 ms (19.70–20.10), not certainly <= 20ms"
    ]


def test_what_was_not_measured_keeps_nothing():
    (place,) = lab({"a": {"litert": 0.01}}).ship("latency_p50", {"accuracy": ">=0.75"}).places
    assert place.chosen is None
    assert place.nearest.breaches[0].standing is Standing.UNKNOWN
    assert "accuracy is not known" in unwrapped(lab({"a": {"litert": 0.01}}).ship(constraints={"accuracy": ">=75%"}))


def test_it_tells_which_constraint_binds_and_what_misses_least():
    big = outcome("litert", "a", 0.01, id=1, size_bytes=90)
    small = outcome("ncnn", "a", 0.03, id=2, size_bytes=50)
    comparison = Comparison([big, small])
    (place,) = comparison.ship(constraints={"artifact_size": "<=60"}).places
    assert place.chosen.variant == "ncnn"
    assert {str(constraint): names for constraint, names in place.binding.items()} == {
        "artifact_size <= 60": ("litert",)
    }
    (none,) = comparison.ship(constraints={"artifact_size": "<=40"}).places
    assert (none.chosen, none.nearest.variant) == (None, "ncnn")
    assert "the nearest is ncnn: artifact size is 50 B, not <= 40" in unwrapped(
        comparison.ship(constraints=["artifact_size<=40"])
    )


def test_suspect_results_count_when_asked_for_and_are_marked():
    doubtful = Comparison([outcome("litert", "a", 0.01, level=VerdictLevel.SUSPECT)])
    assert doubtful.ship().places[0].chosen is None
    assert "litert suspect" in unwrapped(doubtful.ship())
    found = doubtful.ship(trusted_only=False)
    assert found.places[0].chosen.suspect
    assert "litert (suspect)" in unwrapped(found)


def test_virtual_places_stand_apart():
    both = Comparison(
        [outcome("litert", "phone", 0.01, id=1), outcome("ncnn", "fake", 0.001, id=2, virtual=True)],
        include_virtual=True,
    )
    found = both.ship(by="all")
    assert [(place.chosen.variant, place.virtual) for place in found.places] == [("litert", False), ("ncnn", True)]


def test_wrong_questions_are_refused_before_anything_else():
    comparison = lab(FLEET)
    for wrong in ({"by": "colour"}, {"objective": "speed"}, {"constraints": {"size": "<=8"}}):
        with pytest.raises(UserError):
            comparison.ship(**wrong)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("artifact_size<=8e6", 8e6),
        ("artifact_size <= 8 MB", 8e6),
        ("memory_peak<=1.5MiB", 1.5 * 2**20),
        ("latency_p50<=20ms", 0.02),
        ("energy<=.5mJ", 0.0005),
        ("accuracy>=75%", 0.75),
        ("drop<=-0.01", -0.01),
    ],
)
def test_limits_are_read_as_people_write_them(text, limit):
    assert Constraint.read(text).limit == pytest.approx(limit)


@pytest.mark.parametrize(
    "text", ["", "latency_p50", "<=5", "latency_p50<5", "latency_p50<=", "latency_p50<=5MB", "x<=1 s"]
)
def test_limits_that_cannot_be_read_are_refused(text):
    with pytest.raises(UserError):
        Constraint.read(text)


def test_a_metric_is_known_by_its_column_too():
    assert compared("artifact_bytes") is compared("artifact_size")
    assert compared("latency_p50_seconds") is compared("latency_p50")
