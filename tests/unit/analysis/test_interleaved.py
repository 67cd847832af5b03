"""Old and new in turns: what the order cancels, and what the pairs prove."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.analysis.interleaved import FEWEST_PAIRS, MOST_PAIRS, change_of, judged, order, pairs_for, worsening
from farm.analysis.quantities import quantity
from farm.coordinator.queue import TOGETHER
from farm.types import Estimate, Pair, RegressionState

LATENCY, ACCURACY, THROUGHPUT = quantity("latency_p50"), quantity("accuracy"), quantity("throughput")


def measured(pairs: int, old: float, new: float, drift: float = 0.0, noise: float = 0.0, seed: int = 0) -> list[Pair]:
    """In the order of the jobs; ``drift``: of the logarithm, from a job to the next."""
    chance, number, found = random.Random(seed), 0, []  # noqa: S311
    for pair in order(pairs):
        values = {}
        for which in pair:
            level = old if which == "old" else new
            values[which] = level * math.exp(drift * number + chance.gauss(0, noise))
            number += 1
        found.append(Pair(before_job_id=1, now_job_id=2, before=values["old"], now=values["new"]))
    return found


@given(st.integers(1, 4), st.floats(-0.05, 0.05), st.floats(0.5, 2.0))
def test_a_linear_drift_cancels(twos: int, drift: float, ratio: float) -> None:
    change = change_of(measured(2 * twos, 0.01, 0.01 * ratio, drift), LATENCY)
    assert change.value == pytest.approx(ratio)
    assert change.low <= change.value <= change.high


def test_the_interval_holds_what_it_promises() -> None:
    held = 0
    for seed in range(400):
        change = change_of(measured(6, 0.01, 0.0103, noise=0.01, seed=seed), LATENCY)
        held += change.low <= 1.03 <= change.high
    assert 0.92 <= held / 400 <= 0.98


@pytest.mark.parametrize(
    ("change", "asked", "limit", "state"),
    [
        ((1.09, 1.10, 1.11), LATENCY, 0.03, RegressionState.CONFIRMED),
        ((1.01, 1.028, 1.045), LATENCY, 0.03, RegressionState.CONFIRMED),
        ((1.001, 1.01, 1.02), LATENCY, 0.03, RegressionState.REFUTED),
        ((0.90, 0.91, 0.92), LATENCY, 0.03, RegressionState.REFUTED),
        ((0.98, 1.02, 1.06), LATENCY, 0.03, RegressionState.UNCONFIRMED),
        ((0.90, 0.91, 0.92), THROUGHPUT, 0.03, RegressionState.CONFIRMED),
        ((-0.03, -0.03, -0.03), ACCURACY, 0.01, RegressionState.CONFIRMED),
        ((0.0, 0.0, 0.0), ACCURACY, 0.01, RegressionState.REFUTED),
    ],
)
def test_the_interval_decides(change, asked, limit, state) -> None:
    low, value, high = change
    assert judged(Estimate(value=value, low=low, high=high), asked, limit) is state


@given(st.floats(0.001, 2), st.one_of(st.none(), st.floats(0, 1)))
def test_the_pairs_of_a_suspect_stay_together_on_its_device(effect: float, noise: float | None) -> None:
    pairs = pairs_for(effect, noise)
    assert pairs % 2 == 0
    assert FEWEST_PAIRS <= pairs <= MOST_PAIRS
    assert 2 * pairs <= TOGETHER
    assert pairs_for(effect, 0.0) == FEWEST_PAIRS


def test_worse_is_positive_whatever_the_direction() -> None:
    assert worsening(Estimate(value=1.1, low=1.0, high=1.2), LATENCY).value == pytest.approx(0.1)
    worse = worsening(Estimate(value=0.9, low=0.8, high=1.0), THROUGHPUT)
    assert (worse.low, worse.value, worse.high) == pytest.approx((0.0, 0.1, 0.2))
