from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from agents.harness.stopping import EXACT_UP_TO, independent_count, median_interval, median_ranks, steady
from farm.analysis import statistics

CONFIDENCES = st.sampled_from((0.9, 0.95, 0.99))


@pytest.mark.parametrize(("count", "ranks"), [(6, (1, 6)), (10, (2, 9)), (15, (4, 12)), (17, (5, 13)), (20, (6, 15))])
def test_ranks_are_those_of_the_published_tables(count: int, ranks: tuple[int, int]) -> None:
    assert median_ranks(count, 0.95) == ranks


def test_five_samples_are_too_few_for_95_percent() -> None:
    assert median_ranks(5, 0.95) is None
    assert median_interval(np.arange(5), 0.95) is None
    assert median_interval(np.empty(0), 0.95) is None


@settings(deadline=None)
@given(count=st.integers(1, 3000), confidence=CONFIDENCES)
def test_ranks_have_the_confidence_and_are_the_narrowest_symmetric_ones(count: int, confidence: float) -> None:
    ranks = median_ranks(count, confidence)
    coverage = binom(count, 0.5).cdf
    if ranks is None:
        assert coverage(count - 1) - coverage(0) < confidence
        return
    low, high = ranks
    assert low + high == count + 1
    slack = 0 if count <= EXACT_UP_TO else 0.005  # the normal approximation
    assert coverage(high - 1) - coverage(low - 1) >= confidence - slack - 1e-12
    assert coverage(high - 3) - coverage(low + 1) < confidence


@given(
    samples=st.lists(st.integers(1, 10**9), min_size=6, max_size=200),
    scale=st.integers(2, 1000),
    confidence=CONFIDENCES,
)
def test_interval_encloses_the_median_and_scales(samples: list[int], scale: int, confidence: float) -> None:
    series = np.array(samples, dtype=np.int64)
    interval = median_interval(series, confidence)
    if interval is None:
        assert median_ranks(independent_count(series), confidence) is None
        return
    assert interval.low <= interval.median == np.median(series) <= interval.high
    scaled = median_interval(series * scale, confidence)
    assert scaled is not None
    assert scaled.half_width_ratio == pytest.approx(interval.half_width_ratio)


def test_interval_covers_the_true_median_as_often_as_it_says() -> None:
    generator = np.random.default_rng(7)
    for count in (20, 50, 200):
        series = generator.lognormal(0.0, 0.5, (2000, count))  # its median is 1
        intervals = [median_interval(each, 0.95) for each in series]
        covered = np.mean([interval is not None and interval.low <= 1 <= interval.high for interval in intervals])
        assert covered >= 0.94


def test_a_series_that_gets_faster_is_not_steady_and_one_that_is_level_or_gets_slower_is() -> None:
    noise = np.random.default_rng(1).normal(1, 0.03, 300)
    assert not steady(np.linspace(3, 1, 300) * noise, 0.95, 0.02)
    assert steady(noise, 0.95, 0.02)
    assert steady(np.linspace(1, 3, 300) * noise, 0.95, 0.02)


def test_one_slow_inference_does_not_prolong_the_warmup() -> None:
    series = np.random.default_rng(2).normal(1, 0.01, 60)
    series[55] = 50
    assert steady(series, 0.95, 0.02)


def test_a_shift_below_the_tolerance_counts_as_level() -> None:
    series = np.concatenate([np.full(200, 1.000), np.full(100, 0.995)])
    assert steady(series, 0.95, 0.02)
    assert not steady(series, 0.95, 0.001)


def test_a_short_series_is_not_known_to_be_steady() -> None:
    assert not steady(np.ones(17), 0.95, 0.02)
    assert steady(np.ones(18), 0.95, 0.02)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(4, 400), correlation=st.sampled_from((0.0, 0.5, 0.95)))
def test_samples_count_as_in_the_analysis(seed: int, count: int, correlation: float) -> None:
    """The harness stands alone and has its own copy; a measurement that stops must be found narrow enough later."""
    generator = np.random.default_rng(seed)
    series = np.zeros(count)
    for i in range(count):
        series[i] = correlation * series[i - 1] + generator.standard_normal()
    series = np.exp(series)
    assert independent_count(series) == pytest.approx(statistics.independent_count(series, 0.5), abs=1)


def test_correlated_samples_count_less() -> None:
    generator = np.random.default_rng(3)
    noise = generator.standard_normal(500)
    assert independent_count(noise) > 300
    assert independent_count(np.convolve(noise, np.ones(20) / 20, mode="same")) < 100
