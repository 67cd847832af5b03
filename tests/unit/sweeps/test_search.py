"""The version that a regression came with is found, whatever cannot be measured."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import ConflictError
from farm.sweeps.search import begun_again, concluded, next_version
from farm.types import Bisection, BisectionStep, RegressionState
from tests.integration.notifications.notices import NOW, regression


def searched(count: int, first_bad: int, broken: frozenset[int], begun: Bisection | None = None) -> Bisection:
    """Versions "0" to "count - 1", the last of which is known to be bad."""
    fresh = Bisection(good="good", bad=str(count - 1), candidates=tuple(map(str, range(count))))
    bisection = concluded(begun or fresh)
    while not bisection.over:
        version = next_version(bisection)
        assert version is not None
        worse = None if int(version) in broken else int(version) >= first_bad
        step = BisectionStep(version=version, run_id=1, change=None, worse=worse)
        bisection = concluded(bisection.model_copy(update={"steps": (*bisection.steps, step)}))
    return bisection


@given(st.integers(1, 300), st.data())
def test_it_takes_as_many_steps_as_a_binary_search(count: int, data: st.DataObject) -> None:
    first_bad = data.draw(st.integers(0, count - 1))
    found = searched(count, first_bad, frozenset())
    assert found.culprit == str(first_bad)
    assert len(found.steps) <= math.ceil(math.log2(count)) if count > 1 else not found.steps


@given(st.integers(1, 40), st.data())
def test_what_cannot_be_measured_is_passed_over(count: int, data: st.DataObject) -> None:
    first_bad = data.draw(st.integers(0, count - 1))
    broken = data.draw(st.frozensets(st.integers(0, max(0, count - 2))))
    found = searched(count, first_bad, broken)
    assert len({step.version for step in found.steps}) == len(found.steps), "none is tried twice"
    if found.culprit is None:
        assert first_bad in broken or first_bad - 1 in broken
        assert "could not be measured" in found.reason
    else:
        assert found.culprit == str(first_bad)


def test_steps_that_contradict_each_other_are_said_to() -> None:
    steps = (
        BisectionStep(version="b", run_id=1, change=None, worse=True),
        BisectionStep(version="c", run_id=2, change=None, worse=False),
    )
    ended = concluded(Bisection(good="good", bad="d", candidates=("a", "b", "c", "d"), steps=steps))
    assert ended.culprit is None
    assert "contradict" in ended.reason


@given(st.integers(2, 40), st.data())
def test_begun_again_it_keeps_what_it_measured_and_tries_what_it_could_not(count: int, data: st.DataObject) -> None:
    first_bad = data.draw(st.integers(0, count - 2))
    ended = searched(count, first_bad, data.draw(st.frozensets(st.integers(0, count - 2))) | {first_bad})
    assert ended.culprit is None, "it could not be measured"
    again = begun_again(regression(bisection=ended), NOW).bisection
    assert again is not None
    assert not again.over
    assert set(again.steps) == {step for step in ended.steps if step.worse is not None}
    assert searched(count, first_bad, frozenset(), again).culprit == str(first_bad)


@pytest.mark.parametrize(
    "ended",
    [
        Bisection(good="good", bad="b", candidates=(), reason="its source knows no versions between the two nights"),
        Bisection(
            good="good",
            bad="c",
            candidates=("a", "b", "c"),
            steps=(
                BisectionStep(version="a", run_id=1, change=None, worse=True),
                BisectionStep(version="b", run_id=2, change=None, worse=False),
            ),
            reason="its steps contradict each other",
        ),
    ],
)
def test_where_nothing_is_left_to_try_it_asks_its_source_anew(ended: Bisection) -> None:
    assert begun_again(regression(bisection=ended), NOW).bisection is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"bisection": None}, "has not been searched for yet"),
        ({"bisection": Bisection(good="a", bad="b", candidates=("b",), culprit="b")}, "came with b"),
        ({"bisection": Bisection(good="a", bad="c", candidates=("b", "c"))}, "is being searched for"),
        ({"state": RegressionState.ENDED}, "is ended"),
        ({"kind": "missing"}, "of kind 'missing'"),
    ],
)
def test_what_is_not_to_be_begun_again_is_told_why(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConflictError, match=why):
        begun_again(regression(**changes), NOW)
