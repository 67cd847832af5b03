"""Fronts: of bare relations, and of variants whose figures have intervals."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.analysis.comparison import Comparison
from farm.analysis.front import dominates, front
from farm.analysis.order import clearly_less
from farm.errors import NotFoundError, UserError
from farm.types import Estimate, VerdictLevel
from tests.unit.analysis.lab import estimate, lab, outcome

figures = st.builds(estimate, st.floats(0.001, 10), st.sampled_from((0.0, 0.01, 0.2, 1.0)))
signed = st.builds(
    lambda value, below, above: Estimate(value=value, low=value - below, high=value + above),
    st.floats(-1, 1),
    st.floats(0, 0.5),
    st.floats(0, 0.5),
)
points = st.lists(st.tuples(figures, figures, signed), min_size=1, max_size=9)
BETTER = [clearly_less] * 3


def beats(found):
    return [[dominates(one, other, BETTER) for other in found] for one in found]


def reaches(relation, start):
    seen, open_ = set(), [start]
    while open_:
        for other, wins in enumerate(relation[open_.pop()]):
            if wins and other not in seen:
                seen.add(other)
                open_.append(other)
    return seen


@given(points)
def test_whatever_is_off_the_front_is_beaten_and_what_is_on_it_by_its_like_only(found):
    relation = beats(found)
    on = set(front(relation))
    assert on
    for index in range(len(found)):
        above = {other for other in range(len(found)) if relation[other][index]}
        assert above <= on & reaches(relation, index) if index in on else above


@given(points)
def test_from_the_front_everything_else_is_reached(found):
    relation = beats(found)
    on = front(relation)
    assert set(range(len(found))) - set(on) <= set().union(*(reaches(relation, index) for index in on))


@given(points, st.randoms(use_true_random=False))
def test_the_order_does_not_matter(found, shuffle: random.Random):
    places = list(range(len(found)))
    shuffle.shuffle(places)
    there = front(beats([found[place] for place in places]))
    assert sorted(places[index] for index in there) == front(beats(found))


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=12))
def test_of_exact_figures_it_is_the_front_of_the_textbook(found):
    exact = [tuple(estimate(float(value), 0.0) for value in point) for point in found]
    relation = [[dominates(one, other, BETTER[:2]) for other in exact] for one in exact]
    expected = [
        index for index, (x, y) in enumerate(found) if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in found)
    ]
    assert front(relation) == expected


def test_a_circle_stays_on_the_front_as_a_whole():
    circle = [[False, True, False], [False, False, True], [True, False, False]]
    assert front(circle) == [0, 1, 2]
    beaten = [[*row, False] for row in circle] + [[True, False, False, False]]
    assert front(beaten) == [3]


def test_noise_takes_nothing_off_the_front_and_puts_nothing_on_it():
    fast = outcome("litert", "a", estimate(0.0100, 0.05), id=1, size_bytes=20)
    small = outcome("onnxruntime", "a", estimate(0.0101, 0.05), id=2, size_bytes=10)
    slow = outcome("pytorch", "a", estimate(0.0200, 0.05), id=3, size_bytes=10)
    found = Comparison([fast, small, slow]).pareto("latency_p50", "artifact_size")
    assert [point.variant for point in found.front] == ["onnxruntime"]
    beaten = {point.variant: point.beaten_by for point in found.points if not point.on_front}
    assert beaten == {"litert": ("onnxruntime",), "pytorch": ("onnxruntime",)}


def test_higher_is_better_where_it_is():
    quick = outcome("litert", "a", 0.01, id=1, parity=None)
    assert Comparison([quick]).pareto("latency_p50", "parity_cosine").points == ()
    rows = [outcome("litert", "a", 0.01, id=1), outcome("pytorch", "a", 0.02, id=2)]
    parity = rows[0].result.parity.model_copy(update={"cosine": 0.9})
    rows[0] = rows[0].model_copy(update={"result": rows[0].result.model_copy(update={"parity": parity})})
    found = Comparison(rows).pareto("latency_p50", "parity_cosine")
    assert [point.variant for point in found.front] == ["litert", "pytorch"]


def test_a_suspect_result_beats_no_trusted_one():
    rows = [
        outcome("litert", "a", 0.01, id=1, level=VerdictLevel.SUSPECT),
        outcome("ncnn", "a", 0.015, id=2, level=VerdictLevel.SUSPECT),
        outcome("pytorch", "a", 0.02, id=3),
        outcome("mnn", "a", 0.001, id=4, level=VerdictLevel.INVALID),
    ]
    found = Comparison(rows).pareto("latency_p50", "artifact_size")
    assert [point.variant for point in found.front] == ["litert", "pytorch"]
    assert "mnn" in found.left_variants
    trusted = Comparison(rows).pareto("latency_p50", "artifact_size", trusted_only=True)
    assert [point.variant for point in trusted.points] == ["pytorch"]


def test_over_devices_only_those_count_that_all_variants_have():
    table = {"a": {"pytorch": 0.02, "litert": 0.01}, "b": {"pytorch": 0.08, "litert": 0.04}, "c": {"pytorch": 9.0}}
    found = lab(table).pareto("latency_p50", "artifact_size")
    assert found.devices == ("a", "b")
    assert {point.variant: round(point.figures[0].value, 6) for point in found.points} == {
        "litert": 0.02,
        "pytorch": 0.04,
    }
    assert lab(table).pareto("latency_p50", "artifact_size", device="c").devices == ("c",)


@pytest.mark.parametrize("metrics", [(), ("latency_p50",), ("latency_p50", "latency_p50_seconds"), ("load",) * 6])
def test_fronts_of_too_few_too_many_or_the_same_metrics_are_refused(metrics):
    with pytest.raises(UserError, match="no Pareto front"):
        lab({"a": {"pytorch": 0.1}}).pareto(*metrics)


def test_a_device_that_is_not_there_is_named():
    with pytest.raises(NotFoundError, match="nowhere"):
        lab({"a": {"pytorch": 0.1}}).pareto("latency_p50", "artifact_size", device="nowhere")
