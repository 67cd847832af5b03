import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import UserError
from farm.tuning.goal import Goal

LIMITS = {"parity_cosine": ">=0.99", "artifact_bytes": "<= 8e6"}
GOAL = Goal.parse("latency_p50", LIMITS)

figure = st.none() | st.floats(-1e9, 1e9)
candidate = st.fixed_dictionaries({"latency_p50": figure, "parity_cosine": figure, "artifact_bytes": figure})


def test_constraints_are_read_as_people_write_them():
    assert [str(constraint) for constraint in GOAL.constraints] == ["parity_cosine >= 0.99", "artifact_bytes <= 8e+06"]


@pytest.mark.parametrize("text", ["0.99", "=0.99", "<5", ">=", "<=five", ">=0.9.9.9x"])
def test_a_constraint_that_cannot_be_read_is_named(text):
    with pytest.raises(UserError, match="parity_cosine"):
        Goal.parse("latency_p50", {"parity_cosine": text})


def test_a_missing_figure_breaks_its_constraint():
    assert [c.metric for c in GOAL.broken({"latency_p50": 1.0, "parity_cosine": None})] == [
        "parity_cosine",
        "artifact_bytes",
    ]


@given(candidate, candidate)
def test_what_keeps_the_constraints_always_scores_better(one, other):
    if not GOAL.broken(one) and GOAL.broken(other):
        assert GOAL.score(one) < GOAL.score(other)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_among_those_the_objective_decides(one, other):
    rest = {"parity_cosine": 1.0, "artifact_bytes": 1.0}
    scores = [GOAL.score({"latency_p50": value, **rest}) for value in (one, other)]
    assert (scores[0] <= scores[1]) if one <= other else (scores[0] >= scores[1])


@given(st.lists(candidate, max_size=12))
def test_the_front_is_what_nothing_beats(candidates):
    front = set(GOAL.front(candidates))

    def costs(row):
        return (row["latency_p50"], -row["parity_cosine"], row["artifact_bytes"])

    able = {i for i, row in enumerate(candidates) if not GOAL.broken(row) and row["latency_p50"] is not None}
    for index in able:
        beaten = any(
            all(a <= b for a, b in zip(costs(candidates[o]), costs(candidates[index]), strict=True))
            and costs(candidates[o]) != costs(candidates[index])
            for o in able
        )
        assert (index in front) == (not beaten)
    assert front <= able


def test_metrics_of_quality_are_made_large():
    goal = Goal.parse("accuracy", {})
    assert goal.score({"accuracy": 0.9}) < goal.score({"accuracy": 0.8})
    assert goal.score({"accuracy": None}) > goal.score({"accuracy": 0.0})
    assert math.isfinite(goal.score({"accuracy": None}))
