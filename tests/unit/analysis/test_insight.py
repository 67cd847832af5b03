from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.analysis import figures
from farm.analysis.comparison import Comparison
from farm.analysis.insight import coverage, delegated_ratio
from farm.types import Delegation, LoadCost, MemoryCourse, MemorySeries
from tests.unit.analysis.outcomes import MIB, finished, series

COUNTS = st.dictionaries(st.sampled_from(["XNNPACK", "CoreML", "CPU"]), st.integers(1, 500), max_size=3)


@pytest.mark.parametrize(
    ("operators", "left_over", "said"),
    [
        ({"XNNPACK": 98}, {"aten.mean.out": 2}, "98 % of operators on XNNPACK; 2 x aten.mean.out left"),
        ({"XNNPACK": 999}, {"aten.mean.out": 1}, "99 % of operators on XNNPACK; 1 x aten.mean.out left"),
        ({"XNNPACK": 5}, {}, "100 % of operators on XNNPACK"),
        ({"CPU": 1, "CoreML": 3}, {}, "75 % of operators on CoreML, 25 % on CPU"),
        ({}, {"a": 4, "b": 3, "c": 2, "d": 1}, "no operator is delegated; 4 x a, 3 x b, 2 x c and 1 more left"),
        ({}, {}, "no operators"),
    ],
)
def test_coverage_in_a_sentence(operators: dict[str, int], left_over: dict[str, int], said: str) -> None:
    assert coverage(Delegation(operators=operators, left_over=left_over)) == said


@given(COUNTS, st.dictionaries(st.sampled_from(["a", "b"]), st.integers(1, 500)))
def test_all_is_only_said_where_nothing_is_left(operators: dict[str, int], left_over: dict[str, int]) -> None:
    delegation = Delegation(operators=operators, left_over=left_over)
    ratio = delegated_ratio(delegation)
    assert (ratio == 1) == (bool(operators) and not left_over)
    if left_over:
        assert "100 %" not in coverage(delegation)


def test_the_comparison_has_the_figures_in_its_rows_and_its_table() -> None:
    done = finished(
        "onnxruntime",
        series(0.02, 300),
        memory_course=MemoryCourse(
            after_import_bytes=50 * MIB, after_load_bytes=80 * MIB, after_first_inference_bytes=90 * MIB
        ),
        memory_series=MemorySeries(source="x", inferences=(20, 40, 60, 80), memory_bytes=(MIB,) * 4),
        load_cost=LoadCost(read_seconds=0.01, cached_ratio=0.5, storage_bytes=9, requested_bytes=7),
    )
    assert done.artifact is not None
    report = done.artifact.report.model_copy(
        update={
            "parameters": 4_650_000,
            "flops": 770_000_000,
            "delegation": Delegation(operators={"XNNPACK": 49}, left_over={"aten.mean.out": 1}),
        }
    )
    done = done.model_copy(update={"artifact": done.artifact.model_copy(update={"report": report})})
    comparison = Comparison([done])
    (record,) = comparison.to_pandas().to_dict("records")
    assert record["flops"] == 770_000_000
    assert record["delegated_ratio"] == pytest.approx(0.98)
    assert record["delegation"] == "98 % of operators on XNNPACK; 1 x aten.mean.out left"
    assert record["memory_loaded_bytes"] == 30 * MIB
    assert record["memory_growth_bytes"] == 0
    assert record["load_read_seconds"] == 0.01
    assert "770 M" in str(comparison) or "FLOPs/params" in str(comparison)


@given(st.integers(0, 10**15))
def test_counts_are_rounded_to_three_digits(value: int) -> None:
    told = figures.count(value).split()
    unit = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}.get(told[-1], 1)
    assert float(told[0]) * unit == pytest.approx(value, rel=0.006)
