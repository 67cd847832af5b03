"""What is pushed of a result and of a run: the catalogue's points with their labels. Pure."""

from __future__ import annotations

import math

from farm.metrics import catalogue
from farm.metrics.catalogue import Metric
from farm.types import Device, Estimate, Job, Point, Publication, Result, Run, VerdictLevel


def of_result(job: Job, device: Device, model_name: str, result: Result) -> Publication:
    """What is absent in the result has no point. The time is that of the measurement."""
    accuracy = result.evaluation.metrics.get("accuracy") if result.evaluation else None
    figures: list[tuple[Metric, float | None]] = [
        (catalogue.LATENCY_MEAN, result.latency_mean_seconds),
        (catalogue.LOAD, result.load_seconds),
        (catalogue.FIRST_INFERENCE, result.first_inference_seconds),
        (catalogue.THROUGHPUT, result.samples_per_second),
        (catalogue.MEMORY_PEAK, result.memory_peak_bytes),
        (catalogue.ENERGY, _value(result.energy_joules)),
        (catalogue.POWER, _value(result.power_watts)),
        (catalogue.TEMPERATURE_START, result.telemetry.temperature_start_celsius),
        (catalogue.TEMPERATURE_MAX, result.telemetry.temperature_max_celsius),
        (catalogue.THROTTLED, _throttled(result)),
        (catalogue.ACCURACY, accuracy),
        (catalogue.ARTIFACT, result.artifact_bytes),
        (catalogue.TRUSTED, result.verdict.level is VerdictLevel.TRUSTED),
    ]
    points = [
        Point(name=catalogue.LATENCY.name, value=result.latency_seconds[name].value, labels={"quantile": quantile})
        for name, quantile in catalogue.QUANTILES.items()
        if name in result.latency_seconds
    ]
    points += [Point(name=metric.name, value=value) for metric, value in figures if value is not None]
    labels = {
        "device": device.id,
        "device_model": device.facts.device_model,
        "soc": device.facts.soc,
        "platform": device.facts.platform,
        "model": model_name,
        "variant": job.recipe.name,
        "runtime": job.recipe.runtime,
        "scenario": str(job.scenario),
    }
    finite = tuple(point for point in points if math.isfinite(point.value))
    return Publication(kind="result", subject=job.id, at=result.measured_at, labels=labels, points=finite)


def of_run(run: Run) -> Publication | None:
    """None while it goes on."""
    if run.finished_at is None:
        return None
    seconds = (run.finished_at - run.created_at).total_seconds()
    points = (
        Point(
            name=catalogue.RUN_FINISHED.name,
            value=run.finished_at.timestamp(),
            labels={"trigger": run.spec.priority},
        ),
        Point(name=catalogue.RUN_DURATION.name, value=seconds),
    )
    return Publication(kind="run", subject=run.id, at=run.finished_at, labels={"run_id": str(run.id)}, points=points)


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def _throttled(result: Result) -> bool | None:
    """None where nothing was read that would have shown it, so that nobody knows."""
    if any(reason.code == "throttled" for reason in result.verdict.reasons):
        return True
    telemetry = result.telemetry
    shown = telemetry.cpu_frequency_limit_hertz is not None or telemetry.thermal_status_max is not None
    return False if shown else None
