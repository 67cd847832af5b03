from __future__ import annotations

import math

import pytest

from farm.analysis.conclusion import conclude
from farm.errors import DeviceError, InternalError
from farm.types import Filled, Result, VerdictLevel
from tests.unit.analysis.outcomes import MIB, PROTOCOL, artifact, job, measurement, series

JOB = job("onnxruntime", id=7)
ARTIFACT = artifact("onnxruntime", size_bytes=5 * MIB)


def test_a_result_holds_what_was_measured() -> None:
    given = measurement(series(0.02, 500), job_id=7)
    result = conclude(JOB, ARTIFACT, given, PROTOCOL)
    assert result.job_id == 7
    assert result.latency_seconds["p50"].value == pytest.approx(0.02, rel=0.01)
    assert list(result.latency_seconds) == ["p50", "p90", "p95", "p99"]
    assert result.latency_mean_seconds == pytest.approx(sum(given.latency_samples_seconds) / 500)
    assert result.sample_count == 500
    assert result.independent_sample_count is not None and 100 < result.independent_sample_count <= 500
    assert result.artifact_bytes == 5 * MIB
    assert result.memory_over_baseline_bytes == (214 - 38) * MIB
    assert result.verdict.level is VerdictLevel.TRUSTED
    assert result.absent == {}
    assert Result.model_validate_json(result.model_dump_json()) == result


def test_what_is_absent_says_why() -> None:
    given = measurement(
        series(0.02, 50), 7, memory_baseline_bytes=None, absent={"memory_baseline_bytes": "no /proc here"}
    )
    result = conclude(JOB, ARTIFACT, given, PROTOCOL)
    assert result.memory_over_baseline_bytes is None
    assert result.absent["memory_over_baseline_bytes"] == "no /proc here"
    assert "needs 368" in result.absent["latency_seconds.p99"]
    assert "p99" not in result.latency_seconds


@pytest.mark.parametrize("wrong", [0.0, -1e-3, math.nan, math.inf])
def test_samples_that_are_no_durations_are_the_devices_fault(wrong: float) -> None:
    with pytest.raises(DeviceError, match="1 of the 3 latency samples"):
        conclude(JOB, ARTIFACT, measurement([0.1, wrong, 0.1], 7), PROTOCOL)


def test_a_record_without_samples_is_the_devices_fault() -> None:
    with pytest.raises(DeviceError, match="no latency samples"):
        conclude(JOB, ARTIFACT, measurement([], 7), PROTOCOL)


def test_records_are_not_mixed_up() -> None:
    with pytest.raises(InternalError, match="job 8"):
        conclude(JOB, ARTIFACT, measurement([0.1], 8), PROTOCOL)


def test_a_single_sample_still_gives_a_result_that_is_not_trusted() -> None:
    result = conclude(JOB, ARTIFACT, measurement([0.1], 7), PROTOCOL)
    assert result.latency_seconds == {}
    assert {reason.code for reason in result.verdict.reasons} == {"too-few-samples", "interval-not-reached"}


def test_filled_inputs_are_a_note_and_no_doubt() -> None:
    gap = Filled(input="image", of="parity inputs", policy="mean", values=3, samples=2)
    found = conclude(job("pytorch"), artifact("pytorch"), measurement(series(0.01, 500)), PROTOCOL, filled=(gap,))
    assert found.filled == (gap,)
    assert [reason.code for reason in found.verdict.reasons] == ["inputs-filled"]
    assert "3 values of image in 2 of the parity inputs (with mean)" in found.verdict.reasons[0].text
    assert found.verdict.level is VerdictLevel.TRUSTED


def test_an_evaluation_that_there_is_not_has_its_reason() -> None:
    found = conclude(job("pytorch"), artifact("pytorch"), measurement(series(0.01, 500)), PROTOCOL, "too large")
    assert found.evaluation is None
    assert found.absent["evaluation"] == "too large"


def test_steps_around_the_model_have_medians_of_their_own() -> None:
    steps = {"preprocess_samples_seconds": [0.002] * 30, "postprocess_samples_seconds": [0.001] * 3}
    given = measurement(series(0.01, 500), **steps)
    found = conclude(job("pytorch"), artifact("pytorch"), given, PROTOCOL, host_preprocess_seconds=0.5)
    assert found.preprocess_seconds is not None
    assert (found.preprocess_seconds.value, found.host_preprocess_seconds) == (0.002, 0.5)
    assert found.latency_seconds["p50"].value == pytest.approx(0.01, rel=0.01)
    assert found.postprocess_seconds is None
    assert "3 samples are too few" in found.absent["postprocess_seconds"]


def test_what_was_emulated_has_parity_and_no_latency():
    result = conclude(JOB, ARTIFACT, measurement([0.1] * 200, 7, emulated="An NPU"), PROTOCOL)
    assert (result.latency_seconds, result.latency_mean_seconds) == ({}, None)
    assert result.absent["latency_seconds.p50"] == result.absent["latency_mean_seconds"] == "An NPU was emulated"
    assert result.parity is not None
    assert result.verdict.level is VerdictLevel.SUSPECT
    assert "emulated" in {reason.code for reason in result.verdict.reasons}
