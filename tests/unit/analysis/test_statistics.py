from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.analysis.statistics import (
    QUANTILES,
    drift,
    independent_count,
    interval_ranks,
    order_statistic_estimate,
    quantile_estimate,
    samples_needed,
    summarize,
    warmup,
)
from tests.unit.analysis.outcomes import series

durations = st.floats(1e-6, 100, allow_nan=False)
sample_lists = st.lists(durations, min_size=1, max_size=300)
confidences = st.sampled_from([0.8, 0.9, 0.95, 0.99])
scales = st.sampled_from([2.0**-20, 0.25, 4.0, 1024.0])  # powers of two: floating point stays exact


def correlated(count: int, lag_1: float, random: np.random.Generator) -> np.ndarray:
    """Log-normal with median 1 and a first-order autoregression in the logarithm."""
    noise = random.standard_normal(count)
    noise[1:] *= (1 - lag_1**2) ** 0.5
    for index in range(1, count):
        noise[index] += lag_1 * noise[index - 1]
    return np.asarray(np.exp(0.02 * noise))


@given(sample_lists, confidences)
def test_estimates_are_inside_the_samples_and_their_intervals(samples: list[float], confidence: float) -> None:
    for estimate in summarize(samples, confidence).quantiles.values():
        assert min(samples) <= estimate.low <= estimate.value <= estimate.high <= max(samples)


@given(sample_lists, confidences)
def test_estimates_are_ordered(samples: list[float], confidence: float) -> None:
    found = summarize(samples, confidence).quantiles
    values = [found[name].value for name in QUANTILES if name in found]
    assert values == sorted(values)


@given(sample_lists, confidences)
def test_every_quantile_has_an_estimate_or_a_reason(samples: list[float], confidence: float) -> None:
    summary = summarize(samples, confidence)
    for name in QUANTILES:
        assert (name in summary.quantiles) != (f"latency_seconds.{name}" in summary.absent)
    assert 1 <= summary.independent_count <= summary.count == len(samples)


@given(sample_lists, scales)
def test_a_clock_in_other_units_gives_the_same_figures(samples: list[float], scale: float) -> None:
    one, other = summarize(samples, 0.95), summarize([value * scale for value in samples], 0.95)
    assert one.quantiles.keys() == other.quantiles.keys()
    for name, estimate in one.quantiles.items():
        assert other.quantiles[name].low == estimate.low * scale
        assert other.quantiles[name].high == estimate.high * scale
        assert other.quantiles[name].value == pytest.approx(estimate.value * scale)
    assert (one.independent_count, one.outlier_ratio) == (other.independent_count, other.outlier_ratio)


@given(st.lists(durations, min_size=6, max_size=100))
def test_a_higher_confidence_never_gives_a_narrower_interval(samples: list[float]) -> None:
    array = np.array(samples)
    narrow = order_statistic_estimate(array, 0.5, 0.80, len(array))
    wide = order_statistic_estimate(array, 0.5, 0.95, len(array))
    assert narrow is not None and wide is not None
    assert wide.low <= narrow.low and narrow.high <= wide.high


@given(st.lists(durations, min_size=20, max_size=100), st.integers(6, 20))
def test_fewer_independent_samples_never_give_a_narrower_interval(samples: list[float], independent: int) -> None:
    array = np.array(samples)
    all_of_them = order_statistic_estimate(array, 0.5, 0.95, len(array))
    fewer = order_statistic_estimate(array, 0.5, 0.95, independent)
    assert all_of_them is not None and fewer is not None
    assert fewer.low <= all_of_them.low and all_of_them.high <= fewer.high


def test_ranks_are_those_of_the_published_tables() -> None:
    # David & Nagaraja, and every table of confidence intervals for the median at 95 %.
    assert interval_ranks(6, 0.5, 0.95) == (1, 6)
    assert interval_ranks(10, 0.5, 0.95) == (2, 9)
    assert interval_ranks(25, 0.5, 0.95) == (8, 18)
    assert interval_ranks(100, 0.5, 0.95) == (40, 61)


@pytest.mark.parametrize(("quantile", "needed"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368)])
def test_a_tail_needs_this_many_samples(quantile: float, needed: int) -> None:
    assert samples_needed(quantile, 0.95) == needed
    assert interval_ranks(needed, quantile, 0.95) is not None
    assert interval_ranks(needed - 1, quantile, 0.95) is None


@settings(max_examples=30)
@given(st.sampled_from(sorted(QUANTILES.values())), confidences, st.integers(1, 800))
def test_an_interval_exists_exactly_from_there_on(quantile: float, confidence: float, count: int) -> None:
    assert (interval_ranks(count, quantile, confidence) is not None) == (count >= samples_needed(quantile, confidence))


@pytest.mark.parametrize("count", [20, 60, 200])
def test_the_interval_of_the_median_covers_it_as_often_as_it_says(count: int) -> None:
    random = np.random.default_rng(20260314)
    held = sum(
        estimate is not None and estimate.low <= 1 <= estimate.high
        for estimate in (
            order_statistic_estimate(random.lognormal(0, 0.5, count), 0.5, 0.95, count) for _ in range(2000)
        )
    )
    assert held / 2000 >= 0.94  # exact coverage is at least 0.95; the simulation's own error is 0.005


def test_the_interval_of_a_tail_covers_it_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    true = np.exp(0.5 * 1.6448536269514722)
    estimates = [order_statistic_estimate(random.lognormal(0, 0.5, 150), 0.95, 0.95, 150) for _ in range(1000)]
    assert np.mean([e is not None and e.low <= true <= e.high for e in estimates]) >= 0.94


@pytest.mark.parametrize(("lag_1", "at_least"), [(0.0, 0.94), (0.6, 0.93), (0.9, 0.90)])
def test_serial_correlation_widens_the_interval_as_far_as_needed(lag_1: float, at_least: float) -> None:
    random = np.random.default_rng(11)
    estimates = [quantile_estimate(correlated(400, lag_1, random), 0.5, 0.95) for _ in range(300)]
    assert np.mean([e is not None and e.low <= 1 <= e.high for e in estimates]) >= at_least


def test_correlated_samples_count_as_fewer() -> None:
    random = np.random.default_rng(3)
    counts = [independent_count(correlated(1000, lag_1, random), 0.5) for lag_1 in (0.0, 0.6, 0.95)]
    assert counts[0] > 750 > counts[1] > 150 > counts[2]


def test_equal_samples_are_known_exactly() -> None:
    summary = summarize([0.004] * 500, 0.95)
    assert {(e.value, e.low, e.high) for e in summary.quantiles.values()} == {(0.004, 0.004, 0.004)}
    assert summary.quantiles.keys() == QUANTILES.keys()


def test_too_few_samples_leave_the_tails_out_and_say_what_is_needed() -> None:
    summary = summarize(series(0.01, 50), 0.95)
    assert "p50" in summary.quantiles
    assert not {"p95", "p99"} & summary.quantiles.keys()
    assert "50 samples" in summary.absent["latency_seconds.p95"]
    assert summary.absent["latency_seconds.p95"].endswith("needs 72")


@pytest.mark.parametrize("slope", [1.2, 0.8])
def test_drift_is_found_both_ways(slope: float) -> None:
    samples = series(0.01, 300) * np.linspace(1, slope, 300)
    found = drift(samples, 0.95)
    assert found is not None
    assert found.low <= found.value <= found.high
    assert (found.low > 1.05) if slope > 1 else (found.high < 0.95)


@given(st.integers(0, 10_000))
@settings(max_examples=50)
def test_a_steady_series_does_not_drift(seed: int) -> None:
    samples = series(0.01, 200, seed=seed)
    for found in (drift(samples, 0.95), warmup(samples, 0.95)):
        assert found is not None and 0.97 < found.value < 1.03


def test_a_cold_start_is_found() -> None:
    cold = 1 + 0.5 * np.exp(-np.arange(300) / 20)
    found = warmup(series(0.01, 300) * cold, 0.95)
    assert found is not None and found.low > 1.1


def test_drift_needs_samples() -> None:
    assert drift(np.full(15, 0.1), 0.95) is None
    assert drift(np.full(18, 0.1), 0.95) is not None
    assert warmup(np.full(11, 0.1), 0.95) is None
    assert warmup(np.full(12, 0.1), 0.95) is not None
