from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.analysis.comparison import Comparison
from farm.analysis.quantities import COMPARED
from farm.errors import ConflictError, NotFoundError, UserError
from farm.types import Batch, DynamicBatch, Job, JobOutcome, JobState, Recipe, Scenario, VerdictLevel
from tests.unit.analysis.outcomes import device, failed, finished, job, parity, run, series, telemetry
from tests.unit.analysis.power import power_record

PYTORCH = finished("pytorch", series(0.060, 200, 1), id=1)
ONNX = finished("onnxruntime", series(0.020, 400, 2), id=2)
WRONG = finished("onnxruntime-int8", series(0.008, 600, 3), id=3, parity=parity(cosine=0.6))
BUSY = finished("torchscript", series(0.015, 400, 4), id=4, telemetry=telemetry(background_cpu_ratio=0.4))
LOST = failed("litert", id=5)
ANY_BATCH = Recipe("pytorch", name="pytorch-any", transforms=(DynamicBatch(),))
EVERYTHING = (PYTORCH, ONNX, WRONG, BUSY, LOST)


def names(comparison: Comparison) -> list[str]:
    return [row.recipe for row in comparison.rows]


def row_of(comparison: Comparison, name: str) -> Any:
    return next(row for row in comparison.rows if row.recipe == name)


def test_the_fastest_come_first_the_invalid_and_failed_last() -> None:
    assert names(Comparison(EVERYTHING)) == ["torchscript", "onnxruntime", "pytorch", "onnxruntime-int8", "litert"]


def test_the_speed_up_is_over_pytorch_in_the_same_place() -> None:
    comparison = Comparison(EVERYTHING)
    speedup = row_of(comparison, "onnxruntime").speedup
    assert speedup.low < 3 * 1.01 and speedup.high > 3 * 0.99 and speedup.low < speedup.value < speedup.high
    assert row_of(comparison, "pytorch").speedup.value == 1


def test_calls_of_different_batches_are_no_rivals() -> None:
    batched = finished("x", series(0.1, 300, 5), id=6, of=Recipe("onnxruntime", transforms=(Batch(size=8),)))
    dynamic = finished("y", series(0.2, 300, 6), id=7, scenario=Scenario(batch=8), of=ANY_BATCH)
    comparison = Comparison([PYTORCH, ONNX, batched, dynamic])
    assert [setting.scenario for setting in comparison.settings] == [
        *("single-stream/1t", "single-stream/1t/b8"),  # of both that take eight samples
    ]
    assert row_of(comparison, "onnxruntime").speedup is not None
    row = row_of(comparison, "onnxruntime-batch8")
    assert row.outcome.result.samples_per_second == pytest.approx(80, rel=0.02)
    assert row.to_dict()["batch"] == 8
    assert row.speedup is not None  # eager PyTorch with any batch is there, measured with eight
    assert row.speedup.value == pytest.approx(2, rel=0.02)
    assert comparison.best(batch=8).recipe == "onnxruntime-batch8"
    with pytest.raises(UserError, match="batch="):
        comparison.best("latency_p50")
    assert comparison.best("seconds_per_sample").recipe == "onnxruntime-batch8"
    assert "samples/s" in str(comparison)
    assert "samples/s" not in str(Comparison([PYTORCH, ONNX]))


def test_without_pytorch_of_that_batch_there_is_no_speed_up() -> None:
    batched = finished("x", series(0.1, 300), id=6, of=Recipe("onnxruntime", transforms=(Batch(size=8),)))
    row = row_of(Comparison([PYTORCH, batched]), "onnxruntime-batch8")
    assert row.speedup is None
    assert "'pytorch' with batch 8" in row.speedup_absent


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"scenario": Scenario(threads=2)},
        {"on": device("other")},
        {"run_id": 2},
    ],
)
def test_there_is_no_speed_up_over_pytorch_elsewhere(elsewhere: dict[str, Any]) -> None:
    comparison = Comparison([PYTORCH, finished("onnxruntime", series(0.02, 300), id=9, **elsewhere)])
    row = row_of(comparison, "onnxruntime")
    assert row.speedup is None
    assert "pytorch" in row.speedup_absent
    assert row.absent["speedup"] == row.speedup_absent


def test_an_invalid_baseline_is_no_measure() -> None:
    broken = finished("pytorch", series(0.060, 200, 1), id=1, parity=None)
    row = row_of(Comparison([broken, ONNX]), "onnxruntime")
    assert row.speedup is None and "itself is invalid" in row.speedup_absent


def test_a_suspect_baseline_is_a_caveat() -> None:
    shaky = finished("pytorch", series(0.060, 200, 1), id=1, telemetry=telemetry(background_cpu_ratio=0.4))
    assert "may be off, because PyTorch's own result is suspect: machine-busy." in " ".join(
        str(Comparison([shaky, ONNX])).split()
    )
    assert "may be off" not in str(Comparison([PYTORCH, ONNX]))


def test_the_best_is_trusted_unless_asked_otherwise() -> None:
    comparison = Comparison(EVERYTHING)
    assert comparison.best().recipe == "onnxruntime"
    assert comparison.best(trusted_only=False).recipe == "torchscript"  # never the invalid one, though faster
    assert comparison.best("memory_peak").level is VerdictLevel.TRUSTED


def test_nothing_trustworthy_has_no_best() -> None:
    comparison = Comparison([WRONG, BUSY, LOST])
    with pytest.raises(ConflictError, match=r"torchscript is suspect \(machine-busy\)") as caught:
        comparison.best()
    assert "trusted_only=False" in caught.value.remedy
    with pytest.raises(ConflictError, match=r"onnxruntime-int8 is invalid \(parity-failed\), litert is failed"):
        Comparison([WRONG, LOST]).best(trusted_only=False)


def test_best_refuses_questions_without_one_answer() -> None:
    with pytest.raises(UserError, match="no metric 'swiftness'") as caught:
        Comparison(EVERYTHING).best("swiftness")
    assert "latency_p50" in caught.value.remedy
    other = finished("onnxruntime", series(0.01, 300), id=9, on=device("other"))
    with pytest.raises(UserError, match="2 devices"):
        Comparison([*EVERYTHING, other]).best()
    assert Comparison([*EVERYTHING, other]).best(device="other").outcome.job.id == 9
    with pytest.raises(NotFoundError, match="device=nowhere"):
        Comparison(EVERYTHING).best(device="nowhere")
    models = [run(1, "one"), run(2, "two")]
    with pytest.raises(UserError, match="2 models"):
        Comparison([ONNX, finished("onnxruntime", series(0.01, 300), id=9, run_id=2)], runs=models).best()


def test_best_can_be_of_one_scenario() -> None:
    two = finished("onnxruntime", series(0.012, 300), id=9, scenario=Scenario(threads=2))
    comparison = Comparison([*EVERYTHING, two])
    assert comparison.best().outcome.job.id == 9
    assert comparison.best(scenario=Scenario(threads=1)).outcome.job.id == 2
    assert comparison.best(scenario="single-stream/2t").outcome.job.id == 9


LABELLED = ("accuracy", "precision_macro", "recall_macro", "f1_macro", "auc", "auc_macro", "score", "drop")


@pytest.mark.parametrize("metric", [name for name in COMPARED if name not in LABELLED])
def test_every_metric_has_a_best(metric: str) -> None:
    measured = finished("onnxruntime", series(0.02, 400), id=8, power=power_record())
    assert Comparison([*EVERYTHING, measured]).best(metric).level is VerdictLevel.TRUSTED


def test_what_the_intervals_cannot_tell_apart_are_rivals() -> None:
    same = finished("executorch", series(0.02003, 400, 8), id=8)
    comparison = Comparison([*EVERYTHING, same])
    best = comparison.best()
    assert {best.recipe, *(rival.recipe for rival in comparison.rivals(best))} == {"onnxruntime", "executorch"}


def test_a_recommendation_names_what_was_passed_over() -> None:
    (found,) = Comparison(EVERYTHING).recommendations()
    assert found.row is not None and found.row.recipe == "onnxruntime"
    assert {row.recipe for row in found.passed_over} == {"torchscript", "onnxruntime-int8"}
    (found,) = Comparison([BUSY, WRONG]).recommendations()
    assert found.row is not None and found.row.recipe == "torchscript"
    (found,) = Comparison([WRONG, LOST]).recommendations()
    assert found.row is None and "parity-failed" in found.why_not


def test_virtual_devices_are_not_mixed_with_real_ones() -> None:
    fake = finished("onnxruntime", series(0.001, 400), id=9, on=device("a-virtual-phone", virtual=True))
    mixed = Comparison([*EVERYTHING, fake])
    assert all(not row.setting.virtual for row in mixed.rows) and mixed.left_out == 1
    assert "1 jobs on virtual devices" in str(mixed)
    both = Comparison([*EVERYTHING, fake], include_virtual=True)
    assert both.rows[-1].setting.virtual  # apart, after the real ones
    assert "virtual" in str(both)
    with pytest.raises(UserError, match="2 devices"):
        both.best()
    assert Comparison([fake]).best().setting.virtual  # nothing real that it could be mixed with


def test_what_was_simulated_says_so_and_has_no_parity() -> None:
    fake = finished(
        "onnxruntime", series(0.001, 400), on=device("a-virtual-phone", virtual=True), parity=None, simulated=True,
        absent={"parity": "virtual device: the artifact is not run"},
    )  # fmt: skip
    found = Comparison([fake])
    (row,) = found.rows
    assert row.to_dict()["verdict"] == "trusted"
    assert row.to_dict()["parity_cosine"] is None
    assert "simulated: The device is virtual" in str(found)


def test_jobs_on_their_way_are_shown_as_such() -> None:
    waiting = JobOutcome(job=job("executorch", id=11, state=JobState.QUEUED), device=device())
    cancelled = JobOutcome(
        job=job("litert", id=12, state=JobState.CANCELLED, reason="cancelled by lea"), device=device()
    )
    comparison = Comparison([ONNX, waiting, cancelled])
    assert row_of(comparison, "executorch").status == "queued"
    assert row_of(comparison, "executorch").failure is None
    assert row_of(comparison, "litert").failure == "cancelled by lea"


def test_to_dict_is_json_and_complete() -> None:
    given = Comparison(
        [*EVERYTHING, finished("x", [0.1] * 60, id=13, parity=parity(cosine=float("nan")))], runs=[run()]
    )
    record = json.loads(json.dumps(given.to_dict(), allow_nan=False))
    rows = {row["recipe"]: row for row in record["rows"]}
    assert rows["onnxruntime"]["latency_p50_low_seconds"] < rows["onnxruntime"]["latency_p50_seconds"]
    assert rows["onnxruntime"]["speedup"] == pytest.approx(3, rel=0.02)
    assert rows["onnxruntime"]["model"] == "efficientnet-lite0"
    assert rows["onnxruntime-int8"]["reasons"][0]["code"] == "parity-failed"
    assert "upsample_bicubic2d" in rows["litert"]["failure"]
    assert rows["litert"]["latency_p50_seconds"] is None
    assert record["runs"][0]["id"] == 1
    assert record["recommendations"][0]["recipe"] == "onnxruntime"
    assert record["recommendations"][0]["passed_over"] == [4, 3]


def test_to_pandas_has_a_row_per_job_and_numbers() -> None:
    frame = Comparison(EVERYTHING).to_pandas()
    assert len(frame) == len(EVERYTHING)
    assert frame.set_index("recipe")["latency_p50_seconds"].idxmin() == "onnxruntime-int8"
    assert frame["latency_p50_seconds"].dtype == np.float64
    assert frame.set_index("recipe").loc["onnxruntime-int8", "reasons"] == "parity-failed"


def test_an_empty_comparison_says_so() -> None:
    empty = Comparison([])
    assert "No jobs" in str(empty)
    assert "No jobs" in empty._repr_html_()
    assert empty.to_dict()["rows"] == []
    with pytest.raises(NotFoundError, match="no rows"):
        empty.best()


def test_a_report_that_cannot_be_written_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        Comparison([ONNX]).report(tmp_path / "file" / "report.html")


def test_importing_it_is_light() -> None:
    heavy = "{'numpy', 'scipy', 'pandas', 'plotly', 'jinja2', 'rich', 'ray', 'torch'}"
    code = f"import sys, farm.analysis.comparison; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []


@st.composite
def some_outcomes(draw: st.DrawFn) -> list[JobOutcome]:
    found = []
    for id in range(draw(st.integers(1, 6))):
        state = draw(st.sampled_from(list(JobState)))
        on = device(draw(st.sampled_from(["a", "b"])))
        name = draw(st.sampled_from(["pytorch", "onnxruntime", "litert"]))
        if state is JobState.FINISHED:
            samples = draw(st.lists(st.floats(1e-4, 1), min_size=1, max_size=30))
            cosine = draw(st.sampled_from([1.0, 0.2]))
            found.append(finished(name, samples, id=id, on=on, parity=parity(cosine=cosine)))
        else:
            plain: Job = job(name, id, device_id=on.id, state=state)
            found.append(JobOutcome(job=plain, device=on))
    return found


@given(some_outcomes())
def test_whatever_happened_it_can_be_shown_and_an_invalid_result_never_wins(outcomes: list[JobOutcome]) -> None:
    comparison = Comparison(outcomes)
    assert len(comparison.rows) == len(outcomes)
    assert str(comparison)
    json.dumps(comparison.to_dict(), allow_nan=False)
    for name in ("a", "b"):
        for trusted_only in (True, False):
            try:
                best = comparison.best(device=name, trusted_only=trusted_only)
            except (ConflictError, NotFoundError):
                continue
            assert best.level is VerdictLevel.TRUSTED or not trusted_only
            assert best.level is not VerdictLevel.INVALID
    assert all(found.row is None or found.row.level != "invalid" for found in comparison.recommendations())


def test_what_was_emulated_is_not_ranked() -> None:
    npu = finished("onnxruntime-qnn", series(0.001, 400), id=2, emulated="An NPU")
    found = Comparison([finished("pytorch", series(0.010, 400)), npu])
    row = row_of(found, "onnxruntime-qnn")
    assert row.speedup is None
    assert row.latency("p50") is None
    (best,) = found.recommendations()
    assert best.row is not None
    assert best.row.recipe == "pytorch"
