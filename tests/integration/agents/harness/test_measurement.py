"""The harness on every runtime, with real programs, in processes as a driver starts them."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from agents.harness.records import RecordsCut, gaps, read, summarize
from farm.types import Measurement, Telemetry
from farm.types.steps import Expand, Scale, Softmax, TopK, Transpose

from .conftest import QUICK, Measure, job, start
from .programs import RUNTIMES, Model, each

pytestmark = pytest.mark.real_models


@pytest.mark.parametrize("runtime", each())
def test_a_measurement_is_whole_and_agrees_with_pytorch(classifier: Model, measure: Measure, runtime: str) -> None:
    outcome = measure(classifier, runtime)
    assert outcome.exit_code == 0, outcome.log
    kinds = [record["kind"] for record in outcome.records]
    assert [kind for n, kind in enumerate(kinds) if n == 0 or kinds[n - 1] != kind] == [
        *("start", "phase", "runtime_versions", "phase", "load_cost", "phase", "cpus_allowed", "warmup", "samples"),
        *("stop", "memory", "memory_series", "parity", "outputs", "end"),
    ]
    assert [record["name"] for record in outcome.records if record["kind"] == "phase"] == [
        *("import", "load", "first_inference"),
    ]
    facts = outcome.facts
    measurement = Measurement(
        attempt_id=1, job_id=1, epoch=1, telemetry=Telemetry(), started_at=datetime.now(UTC), **facts
    )
    assert measurement.parity is not None
    assert measurement.parity.samples == 3
    assert measurement.parity.cosine > 0.99999
    assert measurement.parity.max_abs_error < 1e-4 * measurement.parity.reference_abs_max
    assert measurement.parity.top1_agreement == 1
    assert measurement.non_finite_outputs == 0
    assert len(measurement.latency_samples_seconds) >= QUICK.min_samples
    assert len(measurement.warmup_samples_seconds) >= QUICK.min_warmup_runs
    assert sum(measurement.warmup_samples_seconds) >= QUICK.min_warmup_seconds
    assert all(0 < seconds < 1 for seconds in measurement.latency_samples_seconds)
    assert min(measurement.import_seconds, measurement.load_seconds, measurement.first_inference_seconds) > 0
    assert measurement.memory_baseline_bytes is not None
    assert measurement.memory_peak_bytes is not None
    assert measurement.memory_peak_bytes > measurement.memory_baseline_bytes + 1_000_000
    assert measurement.cpus_allowed == (max(os.sched_getaffinity(0)),)
    assert measurement.niceness == os.getpriority(os.PRIO_PROCESS, 0)
    assert {"numpy", "python"} < set(measurement.runtime_versions)
    assert measurement.absent == {}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
@pytest.mark.parametrize("runtime", each())
def test_two_threads_run_on_two_cpus(classifier: Model, measure: Measure, runtime: str) -> None:
    cpus = sorted(os.sched_getaffinity(0))[-2:]
    facts = measure(classifier, runtime, threads=2, cpus=cpus).facts
    assert facts["cpus_allowed"] == cpus
    assert facts["parity"]["cosine"] > 0.99999


# ncnn has no comparisons, and pnnx says so only when what it made is loaded.
@pytest.mark.parametrize("runtime", each(runtime for runtime in RUNTIMES if runtime != "ncnn"))
def test_many_inputs_and_nested_outputs_keep_their_order(tagger: Model, measure: Measure, runtime: str) -> None:
    outcome = measure(tagger, runtime)
    assert outcome.exit_code == 0, outcome.log
    parity = outcome.facts["parity"]
    assert parity["cosine"] > 0.99999
    assert parity["max_abs_error"] < 1e-5 * parity["reference_abs_max"]
    assert parity["top1_agreement"] is None


def test_outputs_that_are_not_finite_are_counted(overflowing: Model, measure: Measure) -> None:
    facts = measure(overflowing, "onnxruntime").facts
    assert facts["non_finite_outputs"] == 6
    assert facts["parity"]["max_abs_error"] == 0


def test_wrong_numbers_are_measured_and_shown_not_hidden(classifier: Model, measure: Measure, tmp_path: Path) -> None:
    with np.load(classifier.folder / "reference.npz") as reference:
        np.savez(tmp_path / "other.npz", **{name: -reference[name] for name in reference.files})
    facts = measure(classifier, "onnxruntime", reference_outputs=tmp_path / "other.npz").facts
    assert facts["parity"]["cosine"] == pytest.approx(-1)
    assert facts["parity"]["snr_db"] < 0


def test_max_seconds_wins_over_min_samples(classifier: Model, measure: Measure) -> None:
    protocol = QUICK.model_copy(update={"min_samples": 10**6, "max_seconds": 0.5, "max_samples": 10**6})
    facts = measure(classifier, "pytorch", protocol=protocol.model_dump()).facts
    assert facts["stopped_by"] == "time"
    assert 0.3 < sum(facts["latency_samples_seconds"]) < 1


def test_max_samples_ends_a_measurement(classifier: Model, measure: Measure) -> None:
    only_look = {"min_samples": QUICK.max_samples, "target_half_width_ratio": 1e-9, "max_seconds": 30.0}
    protocol = QUICK.model_copy(update=only_look)
    facts = measure(classifier, "pytorch", protocol=protocol.model_dump()).facts
    assert facts["stopped_by"] == "samples"
    assert len(facts["latency_samples_seconds"]) == QUICK.max_samples


def test_a_labelled_set_is_answered_sample_by_sample_also_by_batches(
    batches_of_two: Model, measure: Measure, tmp_path: Path
) -> None:
    evaluation = {
        "inputs": str(batches_of_two.folder / "parity.npz"),
        "outputs": str(tmp_path / "evaluation.npz"),
        "max_bytes": 100_000,
        "max_seconds": 60,
    }
    facts = measure(batches_of_two, "onnxruntime", batch=2, evaluation=evaluation).facts
    assert facts["evaluation_seconds"] > 0
    with np.load(tmp_path / "evaluation.npz") as given, np.load(batches_of_two.folder / "reference.npz") as wanted:
        assert sorted(given.files) == sorted(wanted.files), "three samples, two batches"
        for name in wanted.files:
            assert given[name].shape == wanted[name].shape
            assert np.allclose(given[name], wanted[name], atol=1e-4)


def test_declared_steps_are_timed_apart_from_the_model(classifier: Model, measure: Measure, tmp_path: Path) -> None:
    with np.load(classifier.folder / "example.npz") as example:
        np.savez(tmp_path / "raw.npz", **{"0.0": example["0.0"][0].transpose(1, 2, 0) * 2})
    before = [Scale(factor=0.5), Transpose(axes=(2, 0, 1)), Expand()]
    processing = {
        "inputs": str(tmp_path / "raw.npz"),
        "before": [step.model_dump() for step in before],
        "after": [Softmax().model_dump(), TopK(k=3).model_dump()],
    }
    facts = measure(classifier, "onnxruntime", processing=processing).facts
    for name in ("preprocess_samples_seconds", "postprocess_samples_seconds"):
        assert len(facts[name]) >= 20
        assert all(0 < seconds < 1 for seconds in facts[name])
    assert facts["parity"]["cosine"] > 0.99999


def test_steps_that_do_not_make_the_example_are_refused(classifier: Model, measure: Measure, tmp_path: Path) -> None:
    with np.load(classifier.folder / "example.npz") as example:
        np.savez(tmp_path / "raw.npz", **{"0.0": example["0.0"]})
    processing = {"inputs": str(tmp_path / "raw.npz"), "before": [Scale(factor=0.5).model_dump()], "after": []}
    error = measure(classifier, "onnxruntime", processing=processing).error
    assert (error.code, error.fault) == ("wrong-preprocessing", "user")
    after = {"inputs": None, "before": [], "after": [TopK(k=11).model_dump()]}
    (tmp_path / "records.jsonl").unlink()
    error = measure(classifier, "onnxruntime", processing=after).error
    assert "there are 10 values, not 11" in error.message


def test_kill_9_in_the_middle_leaves_readable_records_and_no_result(classifier: Model, tmp_path: Path) -> None:
    endless = QUICK.model_copy(update={"min_samples": 10**7, "max_samples": 10**7, "max_seconds": 50.0})
    path = job(tmp_path, classifier, "pytorch", protocol=endless.model_dump())
    process = start(path)
    try:
        deadline = time.monotonic() + 60
        while b'"warmup"' not in _content(tmp_path / "records.jsonl") and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == -signal.SIGKILL
    records = read(tmp_path / "records.jsonl")
    assert gaps(records) == []
    assert {"start", "phase", "warmup"} <= {record["kind"] for record in records}
    with pytest.raises(RecordsCut, match="crashed or was killed"):
        summarize(records)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def test_torch_compile_is_timed_in_the_first_inference(classifier: Model, measure: Measure) -> None:
    compiled = measure(classifier, "pytorch", options={"mode": "compile"}).facts
    assert compiled["parity"]["cosine"] > 0.99999
    assert compiled["first_inference_seconds"] > 10 * max(compiled["latency_samples_seconds"])
    assert compiled["first_inference_seconds"] > compiled["load_seconds"]


def test_torchscript_is_optimized_for_inference_where_it_is_loaded(classifier: Model, measure: Measure) -> None:
    outcome = measure(classifier, "torchscript", options={"optimize_for_inference": True})
    assert outcome.facts["parity"]["cosine"] > 0.99999


@pytest.mark.parametrize("runtime", ["pytorch", "onnxruntime"])
def test_batches_are_made_of_samples_and_compared_sample_by_sample(
    batches_of_two: Model, measure: Measure, runtime: str
) -> None:
    facts = measure(batches_of_two, runtime, batch=2).facts
    assert facts["batch"] == 2
    assert facts["parity"]["samples"] == 3
    assert facts["parity"]["cosine"] > 0.99999
