from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.analysis.ratio import differs, ratio
from farm.analysis.statistics import order_statistic_estimate
from farm.errors import InternalError
from farm.types import Estimate


@st.composite
def estimates(draw: st.DrawFn) -> Estimate:
    low, value, high = sorted(draw(st.lists(st.floats(1e-6, 1e4), min_size=3, max_size=3)))
    return Estimate(value=value, low=low, high=high)


def exactly(value: float) -> Estimate:
    return Estimate(value=value, low=value, high=value)


@given(estimates(), estimates())
def test_the_interval_contains_the_ratio(one: Estimate, other: Estimate) -> None:
    found = ratio(one, other)
    assert found.low * (1 - 1e-9) <= found.value <= found.high * (1 + 1e-9)


@given(estimates(), estimates())
def test_the_inverse_has_the_inverse_interval(one: Estimate, other: Estimate) -> None:
    forth, back = ratio(one, other), ratio(other, one)
    assert forth.value == pytest.approx(1 / back.value)
    assert forth.low == pytest.approx(1 / back.high)
    assert forth.high == pytest.approx(1 / back.low)


@given(estimates(), st.floats(1e-3, 1e3))
def test_by_an_exact_figure_it_only_scales(one: Estimate, factor: float) -> None:
    found = ratio(one, exactly(factor))
    assert found.low == pytest.approx(one.low / factor)
    assert found.high == pytest.approx(one.high / factor)


@given(estimates(), estimates())
def test_it_is_narrower_than_dividing_the_limits_and_wider_than_either(one: Estimate, other: Estimate) -> None:
    found = ratio(one, other)
    slack = 1 + 1e-9
    assert found.low * slack >= one.low / other.high
    assert found.high <= one.high / other.low * slack
    assert found.low <= one.low / other.value * slack
    assert found.high * slack >= one.high / other.value


def test_it_covers_the_true_ratio_as_often_as_it_says() -> None:
    random = np.random.default_rng(5)
    held = 0
    for _ in range(1000):
        slow = order_statistic_estimate(random.lognormal(np.log(3), 0.4, 80), 0.5, 0.95, 80)
        fast = order_statistic_estimate(random.lognormal(0, 0.2, 120), 0.5, 0.95, 120)
        assert slow is not None and fast is not None
        found = ratio(slow, fast)
        held += found.low <= 3 <= found.high
    assert held / 1000 >= 0.94


def test_figures_differ_when_the_interval_leaves_out_one() -> None:
    assert differs(ratio(Estimate(value=2, low=1.9, high=2.1), exactly(1)))
    assert not differs(ratio(Estimate(value=1.02, low=0.99, high=1.05), exactly(1)))


@pytest.mark.parametrize("wrong", [0.0, -1.0])
def test_what_is_not_positive_has_no_ratio(wrong: float) -> None:
    with pytest.raises(InternalError, match="must be positive"):
        ratio(Estimate(value=1, low=wrong, high=1), exactly(1))
