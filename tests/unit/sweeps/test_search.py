"""The version that a regression came with is found, whatever cannot be measured."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from farm.sweeps.search import concluded, next_version
from farm.types import Bisection, BisectionStep


def searched(count: int, first_bad: int, broken: frozenset[int]) -> Bisection:
    """Versions "0" to "count - 1", the last of which is known to be bad."""
    bisection = concluded(Bisection(good="good", bad=str(count - 1), candidates=tuple(map(str, range(count)))))
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
