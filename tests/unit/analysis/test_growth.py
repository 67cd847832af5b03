from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.analysis.conclusion import conclude
from farm.analysis.growth import MAX_GROWTH_BYTES, grows, growth
from farm.types import MemorySeries, VerdictLevel
from tests.unit.analysis.outcomes import MIB, PROTOCOL, artifact, job, measurement, series

PAGE = 4096
POINTS = 50
STRIDE = 20


def memory(*readings: float) -> MemorySeries:
    inferences = tuple(STRIDE * (index + 1) for index in range(len(readings)))
    return MemorySeries(source="test", inferences=inferences, memory_bytes=tuple(int(value) for value in readings))


@given(
    per_inference=st.integers(2_000, 1_000_000),
    chunk=st.sampled_from([PAGE, 132 * 1024]),
    noise=st.lists(st.integers(-4, 4), min_size=POINTS, max_size=POINTS),
)
def test_a_steady_leak_is_found_and_its_size_told(per_inference: int, chunk: int, noise: list[int]) -> None:
    """Allocators take memory in chunks, and a few pages come and go."""
    leaked = [-(-per_inference * STRIDE * index // chunk) * chunk for index in range(POINTS)]
    found = memory(*(100 * MIB + value + PAGE * pages for value, pages in zip(leaked, noise, strict=True)))
    estimate = growth(found, 0.95)
    assert grows(found, estimate)
    assert estimate.low <= estimate.value <= estimate.high
    assert estimate.value == pytest.approx(1000 * per_inference, rel=0.15, abs=0.3 * MIB)


@given(st.lists(st.integers(-16, 16), min_size=POINTS, max_size=POINTS))
def test_pages_that_come_and_go_are_no_leak(noise: list[int]) -> None:
    found = memory(*(100 * MIB + PAGE * pages for pages in noise))
    assert not grows(found, growth(found, 0.95))


@given(
    st.lists(st.tuples(st.integers(1, POINTS - 1), st.integers(1, 500 * MIB)), max_size=2),
)
def test_an_allocator_that_grows_in_two_steps_and_is_content_is_no_leak(steps: list[tuple[int, int]]) -> None:
    found = memory(*(100 * MIB + sum(size for at, size in steps if index >= at) for index in range(POINTS)))
    assert not grows(found, growth(found, 0.95))


@given(st.lists(st.integers(0, 2**40), min_size=2, max_size=60))
def test_any_series_has_a_growth_within_its_interval(readings: list[int]) -> None:
    estimate = growth(memory(*readings), 0.95)
    assert estimate.low <= estimate.value <= estimate.high


def test_a_growth_that_is_sure_and_small_is_none_to_speak_of() -> None:
    found = memory(*(100 * MIB + 0.5 * MAX_GROWTH_BYTES * STRIDE * index / 1000 for index in range(POINTS)))
    assert growth(found, 0.95).low > 0
    assert not grows(found, growth(found, 0.95))


def test_a_result_of_a_program_that_leaks_is_suspect_and_says_how_much() -> None:
    leaking = memory(*(100 * MIB + 4 * MIB * STRIDE * index / 1000 for index in range(POINTS)))
    given = measurement(series(0.02, 500), 7, memory_series=leaking)
    result = conclude(job("onnxruntime", id=7), artifact("onnxruntime"), given, PROTOCOL)
    assert result.memory_growth_bytes is not None
    assert result.memory_growth_bytes.value == pytest.approx(4 * MIB, rel=0.01)
    assert result.verdict.level is VerdictLevel.SUSPECT
    assert [reason.code for reason in result.verdict.reasons] == ["memory-growth"]
    assert "4 MiB per 1,000 inferences" in result.verdict.reasons[0].text
