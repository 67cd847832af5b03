"""Intervals of differences between two programs on the same samples."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from farm.analysis.paired import bootstrap, difference_of_proportions

counts = st.integers(1, 400).flatmap(
    lambda n: st.tuples(st.just(n), st.integers(0, n)).flatmap(
        lambda pair: st.tuples(st.just(pair[0]), st.just(pair[1]), st.integers(0, pair[0] - pair[1]))
    )
)


@given(counts, st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_encloses_the_difference_and_mirrors(drawn: tuple[int, int, int], confidence: float) -> None:
    count, first, second = drawn
    found = difference_of_proportions(first, second, count, confidence)
    mirrored = difference_of_proportions(second, first, count, confidence)
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.value == pytest.approx((first - second) / count)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low), abs=1e-9)


@given(counts)
def test_more_confidence_is_a_wider_interval(drawn: tuple[int, int, int]) -> None:
    count, first, second = drawn
    narrow = difference_of_proportions(first, second, count, 0.8)
    wide = difference_of_proportions(first, second, count, 0.99)
    assert wide.low <= narrow.low + 1e-9
    assert narrow.high <= wide.high + 1e-9


def test_where_nothing_differs_the_interval_has_its_closed_form() -> None:
    z = norm.ppf(0.975)
    found = difference_of_proportions(0, 0, 1000, 0.95)
    assert found.value == 0
    assert (found.low, found.high) == pytest.approx((-(z**2) / (1000 + z**2), z**2 / (1000 + z**2)), rel=1e-6)


@pytest.mark.parametrize(("first", "second", "count"), [(12, 4, 60), (1, 0, 25), (7, 9, 40)])
def test_the_limits_are_where_the_score_test_rejects(first: int, second: int, count: int) -> None:
    """The statistic once more, with its nuisance parameter found by maximizing the likelihood instead of by formula."""

    def statistic(difference: float) -> float:
        def minus_log_likelihood(share: float) -> float:
            terms = [(first, share + difference), (second, share), (count - first - second, 1 - 2 * share - difference)]
            return -sum(n * math.log(max(p, 1e-300)) for n, p in terms if n)

        low, high = max(0.0, -difference), (1 - difference) / 2
        share = minimize_scalar(minus_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
        variance = count * (2 * share + difference - difference**2)
        return (first - second - count * difference) / math.sqrt(variance)

    found = difference_of_proportions(first, second, count, 0.95)
    assert statistic(found.low) == pytest.approx(1.959964, abs=2e-3)
    assert statistic(found.high) == pytest.approx(-1.959964, abs=2e-3)


@pytest.mark.parametrize(
    ("accuracy", "lost", "won", "count"), [(0.97, 0.01, 0.005, 360), (0.9, 0.05, 0.01, 200), (0.7, 0.1, 0.1, 100)]
)
def test_ninety_five_percent_intervals_cover_the_true_drop(
    accuracy: float, lost: float, won: float, count: int
) -> None:
    """Exact coverage: over every outcome of the two discordant counts, weighted by its probability."""
    from scipy.stats import multinomial

    covered = total = 0.0
    law = multinomial(count, [lost, won, 1 - lost - won])
    most = int(count * (lost + won) + 8 * math.sqrt(count * (lost + won)) + 8)
    for first, second in itertools.product(range(min(most, count) + 1), repeat=2):
        if first + second > count or (weight := law.pmf([first, second, count - first - second])) < 1e-7:
            continue
        found = difference_of_proportions(first, second, count, 0.95)
        total += weight
        covered += weight * (found.low <= lost - won <= found.high)
    assert total > 0.999
    assert 0.93 <= covered / total <= 0.985


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 60))
def test_the_bootstrap_encloses_its_value_and_repeats(seed: int, count: int) -> None:
    lost = np.random.default_rng(seed).normal(size=count)
    first, again = (bootstrap(lambda drawn: float(lost[drawn].mean()), count, 0.95) for _ in range(2))
    assert first == again
    assert first is not None
    assert first.low <= first.value <= first.high
    assert first.value == pytest.approx(lost.mean())


def test_bootstrap_intervals_cover_the_true_mean() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        lost = random.gamma(2.0, size=80)
        found = bootstrap(lambda drawn, lost=lost: float(lost[drawn].mean()), 80, 0.95)
        assert found is not None
        covered += found.low <= 2.0 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_a_metric_that_is_too_slow_gets_no_interval() -> None:
    seconds = itertools.count(step=1.0)
    assert bootstrap(lambda drawn: 0.5, 10, 0.95, clock=lambda: next(seconds)) is None
    assert bootstrap(lambda drawn: 0.5, 1, 0.95) is None
    assert bootstrap(lambda drawn: math.nan, 10, 0.95) is None
