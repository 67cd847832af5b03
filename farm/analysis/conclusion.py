"""From the raw record of an attempt to the result of its job. Pure."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from farm.analysis.energy import Energy, energy
from farm.analysis.growth import growth
from farm.analysis.profile import compact
from farm.analysis.statistics import QUANTILES, Summary, quantile_estimate, summarize
from farm.analysis.verdict import judge
from farm.errors import DeviceError, InternalError
from farm.types import Artifact, Estimate, Evaluation, Filled, Job, Measurement, Protocol, Result, ToolReport


def conclude(
    job: Job,
    artifact: Artifact,
    measurement: Measurement,
    protocol: Protocol,
    evaluation: Evaluation | str | None = None,
    filled: tuple[Filled, ...] = (),
    host_preprocess_seconds: float | None = None,
) -> Result:
    """Figures with intervals and a verdict. ``evaluation``: of the labelled set, or why there is none; None where the
    model has no such set. ``filled``: what was missing in the model's inputs.

    Raises DeviceError when the record holds no samples or samples that are no durations, InternalError when it
    belongs to another job.
    """
    if measurement.job_id != job.id:
        raise InternalError(
            f"The record of job {measurement.job_id} was given as that of job {job.id}.",
            remedy="Report it: records and jobs must never be mixed up.",
        )
    samples, report = measurement.latency_samples_seconds, measurement.tool_report
    if not samples and report is None:
        raise DeviceError(
            f"Attempt {measurement.attempt_id} recorded no latency samples.",
            remedy="One inference may take longer than the protocol's max_seconds: raise it.",
        )
    wrong = [seconds for seconds in samples if not (math.isfinite(seconds) and seconds > 0)]
    if wrong:
        raise DeviceError(
            f"{len(wrong)} of the {len(samples)} latency samples of attempt {measurement.attempt_id} are no durations "
            f"(the first is {wrong[0]}).",
            remedy="The clock of the device does not move forward: restart the device, then run the job again.",
        )
    summary = summarize(samples, protocol.confidence) if samples else _of_tool(report)
    absent = {**measurement.absent, **summary.absent}
    quantiles = summary.quantiles
    mean_seconds: float | None = summary.mean_seconds
    if measurement.emulated:
        why = f"{measurement.emulated} was emulated"
        absent |= {f"latency_seconds.{name}": why for name in quantiles} | {"latency_mean_seconds": why}
        quantiles, mean_seconds = {}, None
    baseline, peak = measurement.memory_baseline_bytes, measurement.memory_peak_bytes
    over_baseline = peak - baseline if peak is not None and baseline is not None else None
    if over_baseline is None:
        missing = "memory_peak_bytes" if peak is None else "memory_baseline_bytes"
        absent["memory_over_baseline_bytes"] = absent.get(missing, f"{missing} is absent")
    processing: dict[str, Estimate] = {}
    for name in ("preprocess", "postprocess"):
        taken: tuple[float, ...] = getattr(measurement, f"{name}_samples_seconds")
        if taken and (found := quantile_estimate(np.asarray(taken), 0.5, protocol.confidence)):
            processing[f"{name}_seconds"] = found
        elif taken:
            absent[f"{name}_seconds"] = f"{len(taken)} samples are too few for an interval of the median"
    if isinstance(evaluation, str):
        absent["evaluation"] = evaluation
    taken_energy = energy(measurement.power, summary.count, protocol.confidence) if measurement.power else None
    if isinstance(taken_energy, str):
        absent["energy"] = taken_energy
    return Result(
        job_id=job.id,
        epoch=measurement.epoch,
        latency_seconds=quantiles,
        latency_mean_seconds=mean_seconds,
        confidence=protocol.confidence,
        sample_count=summary.count,
        independent_sample_count=summary.independent_count,
        import_seconds=measurement.import_seconds,
        load_seconds=measurement.load_seconds,
        first_inference_seconds=measurement.first_inference_seconds,
        memory_peak_bytes=peak,
        memory_over_baseline_bytes=over_baseline,
        artifact_bytes=artifact.size_bytes,
        parity=measurement.parity,
        evaluation=evaluation if isinstance(evaluation, Evaluation) else None,
        evaluation_seconds=measurement.evaluation_seconds,
        telemetry=measurement.telemetry,
        **processing,
        host_preprocess_seconds=host_preprocess_seconds,
        filled=filled,
        verdict=judge(measurement, summary, protocol, job.recipe.parity, job.scenario, filled, absent.get("energy")),
        runtime_versions=measurement.runtime_versions,
        absent=absent,
        measured_at=measurement.started_at,
        batch=measurement.batch,
        **_energy(measurement, taken_energy),
        memory_course=measurement.memory_course,
        memory_growth_bytes=growth(series, protocol.confidence) if (series := measurement.memory_series) else None,
        load_cost=measurement.load_cost,
        profile=compact(measurement.profile) if measurement.profile else None,
        tool_report=report,
    )


def _of_tool(report: ToolReport | None) -> Summary:
    """What a native tool that keeps its samples to itself printed: no interval can be made of it."""
    if report is None:
        raise InternalError("There is neither a sample nor a tool's report.", remedy="Report this bug.")
    why = f"{report.tool} prints summaries and no samples, so there is no interval"
    return Summary(
        count=report.count,
        independent_count=None,
        mean_seconds=report.mean_seconds,
        quantiles={},
        absent={f"latency_seconds.{name}": why for name in QUANTILES} | {"independent_sample_count": why},
        drift=None,
        warmup=None,
        outlier_ratio=None,
    )


def _energy(measurement: Measurement, found: Energy | str | None) -> dict[str, Any]:
    if measurement.power is None or not isinstance(found, Energy):
        return {}
    return {
        "energy_joules": found.joules,
        "power_watts": found.watts,
        "idle_power_watts": found.idle_watts,
        "energy_method": measurement.power.series.method,
    }
