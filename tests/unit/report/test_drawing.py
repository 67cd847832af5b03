"""Plots without a script: round ticks, escaped texts."""

from __future__ import annotations

from datetime import timedelta
from xml.etree import ElementTree

from hypothesis import assume, given
from hypothesis import strategies as st

from farm.report.drawing import LEFT, RIGHT, Drawing, padded, ticks
from tests.values import NOW


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(3, 9))
def test_ticks_are_few_evenly_spaced_and_within(low: float, width: float, most: int) -> None:
    high = low + width
    assume(width > 1e-9 * abs(low))
    found = ticks(low, high, most)
    assert 1 <= len(found) <= most
    assert all(low - 1e-6 * width <= tick <= high + 1e-6 * width for tick in found)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1))
def test_a_padded_range_holds_everything_and_is_never_empty(values: list[float]) -> None:
    low, high = padded(values)
    assert low <= min(values) <= max(values) <= high
    assert low < high


def test_a_drawing_is_well_formed_whatever_it_is_told() -> None:
    drawing = Drawing(400, 200, 'said <b>"so"</b>')
    x = drawing.days(NOW, NOW + timedelta(days=30))
    drawing.dot(x(NOW), 10, "dot", "<script>")
    drawing.text(0, 0, "a & b")
    parsed = ElementTree.fromstring(drawing.svg())  # noqa: S314 - our own
    assert parsed.attrib["aria-label"] == 'said <b>"so"</b>'
    assert LEFT <= x(NOW) < x(NOW + timedelta(days=30)) <= 400 - RIGHT


def test_one_night_is_a_plot_too() -> None:
    drawing = Drawing(400, 200, "one")
    assert LEFT <= drawing.days(NOW, NOW)(NOW) <= 400 - RIGHT
