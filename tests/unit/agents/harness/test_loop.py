from __future__ import annotations

import time
from itertools import pairwise

import pytest

from agents.harness.loop import Samples, collect


def never(samples: Samples) -> bool:
    return False


def test_one_sample_per_run_and_each_is_the_duration_of_that_run() -> None:
    seen: list[Samples] = []
    pauses = [0.002, 0.010, 0.004]
    left = list(pauses)

    def reached(samples: Samples) -> bool:
        seen.append(samples.copy())
        return True

    by = collect(
        lambda: time.sleep(left.pop(0)), first_check=3, at_least=1, max_samples=10, max_seconds=10, reached=reached
    )
    assert by == "interval"
    assert not left
    [samples] = seen
    for sample, pause in zip(samples, pauses, strict=True):
        assert pause * 1e9 <= sample < pause * 1e9 + 50e6


def test_stops_at_the_number_of_samples_and_shows_all_of_them_first() -> None:
    lengths: list[int] = []
    by = collect(
        lambda: None,
        first_check=5,
        at_least=1,
        max_samples=123,
        max_seconds=10,
        reached=lambda samples: bool(lengths.append(len(samples))),
    )
    assert by == "samples"
    assert lengths[0] == 5
    assert lengths[-1] == 123
    assert all(later > earlier for earlier, later in pairwise(lengths))


def test_looks_at_the_series_ever_more_seldom() -> None:
    lengths: list[int] = []
    collect(
        lambda: None,
        first_check=50,
        at_least=1,
        max_samples=20_000,
        max_seconds=10,
        reached=lambda samples: bool(lengths.append(len(samples))),
    )
    assert len(lengths) < 50


def test_stops_when_the_time_is_up_with_the_samples_so_far() -> None:
    lengths: list[int] = []
    begin = time.monotonic()
    by = collect(
        lambda: time.sleep(0.02),
        first_check=1000,
        at_least=1,
        max_samples=5000,
        max_seconds=0.1,
        reached=lambda samples: bool(lengths.append(len(samples))),
    )
    assert by == "time"
    assert 1 <= lengths[-1] <= 5
    assert time.monotonic() - begin < 2


def test_the_interval_counts_when_it_is_reached_with_the_last_sample() -> None:
    by = collect(
        lambda: None,
        first_check=10,
        at_least=1,
        max_samples=20,
        max_seconds=10,
        reached=lambda samples: len(samples) == 20,
    )
    assert by == "interval"


def test_without_a_limit_of_samples_only_time_or_interval_end_it() -> None:
    by = collect(
        lambda: time.sleep(0.001), first_check=3, at_least=1, max_samples=None, max_seconds=0.05, reached=never
    )
    assert by == "time"


def test_what_the_run_raises_comes_out() -> None:
    def run() -> None:
        raise RuntimeError("operator failed")

    with pytest.raises(RuntimeError, match="operator failed"):
        collect(run, first_check=3, at_least=1, max_samples=10, max_seconds=1, reached=never)


def test_the_time_does_not_count_before_the_least_number_of_runs() -> None:
    lengths: list[int] = []
    by = collect(
        lambda: time.sleep(0.02),
        first_check=2,
        at_least=4,
        max_samples=None,
        max_seconds=0.01,
        reached=lambda samples: bool(lengths.append(len(samples))),
    )
    assert by == "time"
    assert lengths[-1] == 4
