from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.analysis import figures


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0"),
        (0.01234, "0.0123"),
        (4.567, "4.57"),
        (78.94, "78.9"),
        (99.96, "100"),
        (999.6, "1000"),
        (123456, "123456"),
        (1234567, "1.23e+06"),
        (0.00001234, "1.23e-05"),
        (-2.5, "-2.50"),
    ],
)
def test_numbers_have_three_digits(value: float, written: str) -> None:
    assert figures.number(value) == written


@given(st.floats(1e-9, 1e9))
def test_numbers_are_within_their_digits(value: float) -> None:
    assert float(figures.number(value)) == pytest.approx(value, rel=5.1e-3)
    assert float(figures.number(value, digits=4)) == pytest.approx(value, rel=5.1e-4)


@pytest.mark.parametrize(
    ("size_bytes", "written"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (5.1 * 2**20, "5.10 MiB"), (3 * 2**30, "3.00 GiB")],
)
def test_sizes_are_binary(size_bytes: float, written: str) -> None:
    assert figures.size(size_bytes) == written


def test_durations_pick_their_unit() -> None:
    assert figures.duration(1.234) == "1.23 s"
    assert figures.duration(0.0123) == "12.3 ms"
    assert figures.milliseconds(0.0123456) == "12.35"


def test_only_identical_directions_read_as_one() -> None:
    assert figures.cosine(1.0) == "1.000000"
    assert figures.cosine(0.99999999) == "0.999999"
    assert figures.cosine(0.5) == "0.500000"


@given(st.text())
def test_plain_text_controls_no_terminal(text: str) -> None:
    cleaned = figures.plain(text)
    assert all(character in "\n\t" or ord(character) >= 32 for character in cleaned)
    assert "\x7f" not in cleaned and "\x9b" not in cleaned
