"""Figures of native tools: shown as theirs, judged for what they leave open, and never made up."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from farm.analysis.comparison import Comparison
from farm.analysis.table import blocks
from farm.report.html import render
from farm.types import JobOutcome, Scenario, ToolDelegation, ToolReport, VerdictLevel
from tests.unit.analysis.outcomes import finished, series, sha

TOOL = {
    "parity": None,
    "non_finite_outputs": None,
    "import_seconds": None,
    "memory_baseline_bytes": None,
    "absent": {"parity": "benchmark_model writes no outputs", "import_seconds": "benchmark_model does not measure it"},
}


def report(**fields: Any) -> ToolReport:
    known: dict[str, Any] = {
        "tool": "benchmark_model",
        "sha256": sha("binary"),
        "accelerator": "gpu",
        "command": ("benchmark_model", "--use_gpu=true"),
        "count": 100,
        "mean_seconds": 0.00413,
        "quantiles_seconds": {"p50": 0.0041},
        "delegation": ToolDelegation(taken="whole", said="all of it"),
    }
    return ToolReport(**known | fields)


def outcome(taken: Any = (), **fields: Any) -> JobOutcome:
    scenario = Scenario(accelerator="gpu")
    return finished("litert", taken, scenario=scenario, tool_report=report(**fields), **TOOL)


def codes(given: JobOutcome) -> set[str]:
    assert given.result is not None
    return {reason.code for reason in given.result.verdict.reasons}


def test_a_summary_has_no_quantiles_of_ours_and_says_why() -> None:
    result = outcome().result
    assert result is not None
    assert (result.latency_seconds, result.latency_mean_seconds, result.sample_count) == ({}, 0.00413, 100)
    assert result.independent_sample_count is None
    assert "no samples" in result.absent["latency_seconds.p50"]
    assert result.absent["parity"] == "benchmark_model writes no outputs"
    assert result.verdict.level is VerdictLevel.SUSPECT
    assert codes(outcome()) == {"outputs-unseen", "tool-summary", "tool-figures"}


def test_samples_of_a_tool_get_intervals_and_the_usual_rules() -> None:
    given = outcome(series(0.01, 400), samples=True)
    assert given.result is not None
    assert given.result.latency_seconds["p50"].value == pytest.approx(0.01, rel=0.02)
    assert codes(given) == {"outputs-unseen", "tool-figures"}


@pytest.mark.parametrize(
    ("taken", "code", "level"),
    [
        ("refused", "delegate-refused", VerdictLevel.INVALID),
        ("partly", "delegate-partly", VerdictLevel.SUSPECT),
        ("unproven", "delegate-unproven", VerdictLevel.SUSPECT),
    ],
)
def test_a_delegate_that_did_not_take_the_graph_is_a_reason(taken: Any, code: str, level: VerdictLevel) -> None:
    given = outcome(series(0.01, 400), delegation=ToolDelegation(taken=taken, said="62 of 64 nodes"))
    assert code in codes(given)
    assert given.result is not None
    assert given.result.verdict.level is level
    assert any("62 of 64 nodes" in reason.text for reason in given.result.verdict.reasons)


def test_what_is_mixed_into_the_one_mean_is_said() -> None:
    result = outcome(warmup_included=True).result
    assert result is not None
    assert any("warm-up are part of it" in reason.text for reason in result.verdict.reasons)


def test_table_report_and_json_show_that_the_figure_is_the_tool_s() -> None:
    comparison = Comparison([outcome(), finished("pytorch", series(0.02, 400), id=2)])
    console = Console(width=160, record=True, file=None, force_terminal=False)
    with console.capture() as captured:
        for block in blocks(comparison, 160):
            console.print(block)
    text = captured.get()
    assert "single-stream/1t/gpu" in text
    assert "4.1" in text
    assert "the tool's" in text
    assert "tool-figures" in text
    page = render(comparison, {})
    assert "the tool's" in page
    (row,) = (row.to_dict() for row in comparison.rows if row.recipe == "litert")
    assert (row["tool"], row["accelerator"], row["tool_p50_seconds"]) == ("benchmark_model", "gpu", 0.0041)
    assert (row["latency_p50_seconds"], row["tool_p95_seconds"], row["import_seconds"]) == (None, None, None)
    # Never ranked among figures of the harness, nor called the fastest without an interval.
    assert len(comparison.settings) == 2
    (native,) = (each for each in comparison.recommendations() if each.setting.scenario.endswith("gpu"))
    assert native.row is None
