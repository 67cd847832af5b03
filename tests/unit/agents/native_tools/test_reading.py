"""Strict reading of what native tools print."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.native_tools import TOOLS, NotUnderstood, Printed
from agents.native_tools.litert import counts, timings
from agents.native_tools.onnxruntime import placement
from tests.unit.agents.native_tools import said

SAMPLES = Path(__file__).parents[4].parent / "shared" / "device-samples" / "litert_benchmark_model.txt"


def read(name: str, accelerator: str = "cpu", probed: str = "") -> Printed:
    output, results = said.WHOLE[name]
    return TOOLS[name.removesuffix("-old")].read(output, results, probed, said.work(accelerator))


def test_benchmark_model_gives_its_summary_and_nothing_more() -> None:
    printed = read("benchmark_model")
    assert (printed.count, printed.samples_seconds) == (10, ())
    assert printed.mean_seconds == pytest.approx(4127.4e-6)
    assert dict(printed.quantiles_seconds) == pytest.approx({"p5": 4011e-6, "p50": 4102e-6, "p95": 4350e-6})
    assert printed.load_seconds == pytest.approx(0.012345)
    assert printed.first_inference_seconds == pytest.approx(5102e-6)
    assert (printed.memory_peak_bytes, printed.delegation) == (None, None)
    assert read("benchmark_model-old").quantiles_seconds == ()


@pytest.mark.parametrize(
    ("lines", "taken", "nodes"),
    [
        (said.GPU_WHOLE, "whole", (64, 64)),
        (said.GPU_PARTLY, "partly", (62, 64)),
        (said.GPU_REFUSED, "refused", (None, None)),
        (said.XNNPACK_ONLY, "unproven", (None, None)),  # that is the CPU's delegate
        ("", "unproven", (None, None)),
        ("INFO: QnnDelegate delegate: 0 nodes delegated out of 47 nodes with 0 partitions.\n", "refused", (0, 47)),
        # A claim that its own count contradicts.
        (said.GPU_WHOLE.replace("64 out of", "63 out of"), "partly", (63, 64)),
    ],
)
def test_benchmark_model_must_show_that_the_delegate_took_the_graph(
    lines: str, taken: str, nodes: tuple[int | None, int | None]
) -> None:
    output = said.benchmark_model(lines)
    found = TOOLS["benchmark_model"].read(output, "", "", said.work("gpu")).delegation
    assert found is not None
    assert (found.taken, (found.delegated_nodes, found.nodes)) == (taken, nodes)


def test_executor_runner_tells_warm_up_from_the_rest() -> None:
    printed = read("executor_runner")
    assert printed.samples_seconds == pytest.approx([value / 1000 for value in said.RUNS_MS[3:]])
    assert printed.warmup_samples_seconds == pytest.approx([value / 1000 for value in said.RUNS_MS[:3]])
    assert printed.first_inference_seconds == pytest.approx(0.0315)
    assert printed.load_seconds == pytest.approx(0.0215)


def test_the_one_mean_of_an_old_executor_runner_says_what_is_in_it() -> None:
    printed = read("executor_runner-old")
    assert printed.warmup_included
    assert (printed.samples_seconds, printed.first_inference_seconds) == ((), None)
    assert printed.mean_seconds == pytest.approx(sum(said.RUNS_MS) / len(said.RUNS_MS) / 1000)


def test_perf_test_gives_every_run_and_where_nodes_went() -> None:
    printed = read("onnxruntime_perf_test", "npu", said.PLACED)
    assert printed.samples_seconds == pytest.approx([value / 1000 for value in said.RUNS_MS[3:]])
    assert printed.memory_peak_bytes == 35299328
    assert printed.delegation is not None
    assert (printed.delegation.taken, printed.delegation.delegated_nodes) == ("partly", 1)
    assert placement("").taken == "unproven"
    assert placement(said.PLACED.replace("Nnapi", "CPU")).taken == "refused"


def test_speed_benchmark_gives_every_run() -> None:
    printed = read("speed_benchmark_torch")
    assert printed.samples_seconds == pytest.approx([value / 1000 for value in said.RUNS_MS[:10]])
    assert printed.delegation is None
    assert read("speed_benchmark_torch", "gpu").delegation.taken == "unproven"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", said.WHOLE)
def test_output_that_was_cut_anywhere_is_refused_or_gives_the_same(name: str) -> None:
    """Where only lines after the figures are missing, the figures are whole."""
    output, results = said.WHOLE[name]
    tool, whole = TOOLS[name.removesuffix("-old")], read(name)
    refused = 0
    for end in range(len(output)):
        try:
            assert tool.read(output[:end], results, "", said.work()) == whole
        except NotUnderstood:
            refused += 1
    assert refused > len(output) * 0.5
    for end in range(results.find("\n\n") + 1):
        with pytest.raises(NotUnderstood):
            tool.read(output, results[:end], "", said.work())


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("benchmark_model", "timings in us", "timings in ms"),
        ("benchmark_model", "Inference (avg): 4127.4", "Inference (avg): 412"),
        ("benchmark_model", "max=4390", "max=4"),
        ("benchmark_model", "count=10 ", "count=0 "),
        ("benchmark_model", "median=4102", "median=nan"),
        ("executor_runner", "time(s) in", "time(s) after"),
        ("executor_runner", "Iteration 5 of 13", "Iteration 6 of 13"),
        ("executor_runner", ": 8.500000 ms", ": 8.500000 us"),
        ("executor_runner", "Iteration 4 of 13: 8", "Iteration 4 of 13: 80"),
        ("executor_runner-old", "successfully 13 time", "successfully 1 time"),
        ("onnxruntime_perf_test", "cost total: ", "cost total (us): "),
        ("onnxruntime_perf_test", "requests: 13", "requests: 12"),
        ("onnxruntime_perf_test", "Total inference time cost: 0.1", "Total inference time cost: 1"),
        ("speed_benchmark_torch", '"us"', '"ms"'),
        ("speed_benchmark_torch", "Iters per second: ", "Iters per second: 1"),
        ("speed_benchmark_torch", '"latency"', '"memory"'),
    ],
)
def test_other_units_versions_and_figures_that_contradict_each_other_are_refused(name: str, old: str, new: str) -> None:
    output, results = said.WHOLE[name]
    assert old in output
    with pytest.raises(NotUnderstood):
        TOOLS[name.removesuffix("-old")].read(output.replace(old, new, 1), results, "", said.work())


@given(
    name=st.sampled_from(sorted(said.WHOLE)),
    accelerator=st.sampled_from(["cpu", "gpu", "npu"]),
    cuts=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 40), st.text(max_size=6)), max_size=4),
    into_results=st.booleans(),
)
def test_damaged_output_is_understood_rightly_or_refused(
    name: str, accelerator: str, cuts: list[tuple[int, int, str]], into_results: bool
) -> None:
    """Whatever is in it: a figure that is a duration, or NotUnderstood. Nothing else is raised."""
    output, results = said.WHOLE[name]
    text = results if into_results else output
    for start, length, other in cuts:
        text = text[:start] + other + text[start + length :]
    given_output, given_results = (output, text) if into_results else (text, results)
    try:
        tool = TOOLS[name.removesuffix("-old")]
        printed = tool.read(given_output, given_results, text, said.work(accelerator))
    except NotUnderstood:
        return
    assert printed.count >= 1
    for seconds in (printed.mean_seconds, *printed.samples_seconds, *dict(printed.quantiles_seconds).values()):
        assert math.isfinite(seconds)
        assert seconds > 0


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    for tool in TOOLS.values():
        with pytest.raises(NotUnderstood):
            tool.read(text, text, text, said.work("gpu"))


@pytest.mark.skipif(not SAMPLES.exists(), reason="the samples are not part of the repository")
def test_recorded_lines_are_read() -> None:
    _, counted, old, new = SAMPLES.read_text().splitlines()
    assert (counts(counted).count, counts(counted).mean_seconds) == (50, pytest.approx(0.079732))
    assert timings(old).mean_seconds == pytest.approx(0.0797609)
    assert timings(new).first_inference_seconds == pytest.approx(0.004098)
