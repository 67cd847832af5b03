"""Profiles, memory, loading and delegate coverage in the report."""

from __future__ import annotations

import plotly.graph_objects as go
import pytest

from farm.analysis.comparison import Comparison
from farm.analysis.profile import OperatorProfile
from farm.report import operators
from farm.report.html import render
from farm.types import Delegation, JobOutcome, LoadCost, MemoryCourse, MemorySeries, OperatorTime, Profile
from tests.unit.analysis.outcomes import MIB, finished, series
from tests.unit.report.test_html import HOSTILE, Page, words
from tests.unit.report.test_plots import painted


def profile(*rows: tuple[str, str, float]) -> Profile:
    times = [OperatorTime(name=n, type=t, count=10, total_seconds=s * 10, where="CPU") for n, t, s in rows]
    return Profile(tool="a profiler", runs=10, inference_seconds=0.025, unprofiled_seconds=0.02, operators=tuple(times))


def outcome(id: int, name: str, found: Profile | None = None) -> JobOutcome:
    done = finished(
        name,
        series(0.02, 300),
        id=id,
        profile=found,
        memory_course=MemoryCourse(
            after_import_bytes=50 * MIB, after_load_bytes=91 * MIB, after_first_inference_bytes=95 * MIB
        ),
        memory_series=MemorySeries(source="x", inferences=(20, 40, 60, 80), memory_bytes=(MIB,) * 4),
        load_cost=LoadCost(read_seconds=0.0123, cached_ratio=0.25, storage_bytes=3 * MIB, requested_bytes=5 * MIB),
    )
    assert done.artifact is not None
    report = done.artifact.report.model_copy(
        update={
            "parameters": 4_650_000,
            "flops": 770_000_000,
            "delegation": Delegation(operators={"XNNPACK": 49}, left_over={"aten.mean.out": 1}),
        }
    )
    return done.model_copy(update={"artifact": done.artifact.model_copy(update={"report": report})})


@pytest.fixture(scope="module")
def html() -> str:
    found = profile(("conv_1", "Conv", 0.015), (HOSTILE, "Gemm", 0.004))
    return render(Comparison([outcome(1, "onnxruntime", found), outcome(2, "pytorch")]), {})


def test_the_figures_of_memory_loading_and_the_program_are_there(html: str) -> None:
    text = words(html)
    assert "41.0 MiB" in text, "loaded: after load minus after import"
    assert "12.3 ms 25 %" in text, "reading, and how much of it was cached"
    assert "3.00 MiB, 5.00 MiB" in text
    assert "4.65 M 770 M 98 % of operators on XNNPACK; 1 x aten.mean.out left" in text


def test_the_operators_of_a_profiled_variant_are_listed_with_what_profiling_cost(html: str) -> None:
    text = words(html)
    assert "conv_1 Conv CPU 1.00 15.00 15.00 78.9 %" in text
    assert "+25% with the profiler" in text
    assert "Operators of pytorch" not in text
    assert "Where the time goes" in text


def test_names_of_operators_are_no_code(html: str) -> None:
    assert Page(html).open == []
    assert "onerror" not in {name for _, attributes in Page(html).tags for name in attributes}


def test_plotly_accepts_the_bars_and_they_add_up() -> None:
    rows = [(f"op{n}", f"Type{n}", 0.001 * (n + 1)) for n in range(12)]
    found = OperatorProfile("x", profile(*rows))
    figure = operators.bars([("x", found), ("y", found)])
    assert figure is not None
    go.Figure(painted(figure))
    stacked = [trace for trace in figure["data"] if trace["type"] == "bar"]
    assert len(stacked) == operators.TYPES + 1
    assert stacked[-1]["name"] == "all others"
    assert sum(trace["x"][0] for trace in stacked) == pytest.approx(1000 * found.profile.operators_seconds)
    assert operators.bars([]) is None
