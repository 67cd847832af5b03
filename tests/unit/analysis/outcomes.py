"""Made-up but realistic outcomes, put together by the farm's own conclusion from made-up records."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from farm.analysis.conclusion import conclude
from farm.types import (
    Artifact,
    Blob,
    BuildReport,
    Device,
    DeviceFacts,
    Failure,
    Job,
    JobOutcome,
    JobState,
    Measurement,
    Parity,
    ParityLimits,
    Protocol,
    Quantize,
    Recipe,
    Run,
    RunSpec,
    RunState,
    Scenario,
    Telemetry,
)

AT = datetime(2026, 3, 14, 15, 9, 26, tzinfo=UTC)
PROTOCOL = Protocol()
MIB = 2**20


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def series(median_seconds: float, count: int, seed: int = 0, spread: float = 0.012) -> np.ndarray:
    """Like a quiet machine: a tight right-skewed bulk, weakly correlated, now and then a late sample."""
    random = np.random.default_rng(seed)
    noise = random.standard_normal(count)
    for index in range(1, count):
        noise[index] = 0.15 * noise[index - 1] + noise[index] * (1 - 0.15**2) ** 0.5
    late = (random.random(count) < 0.01) * random.uniform(0.2, 0.8, count)
    return np.asarray(median_seconds * (np.exp(spread * noise) + late))


def recipe(name: str, runtime: str | None = None) -> Recipe:
    int8 = name.endswith("int8")
    limits = ParityLimits(min_cosine=0.99) if int8 else ParityLimits(min_cosine=0.9999, max_abs_error_ratio=0.001)
    return Recipe(
        name=name,
        runtime=runtime or name.split("-", maxsplit=1)[0],
        transforms=(Quantize(),) if int8 else (),
        parity=limits,
    )


def parity(cosine: float = 0.9999999, max_abs_error: float = 2e-6, reference_abs_max: float = 12.4) -> Parity:
    return Parity(
        samples=4,
        max_abs_error=max_abs_error,
        max_rel_error=max_abs_error * 30,
        reference_abs_max=reference_abs_max,
        cosine=cosine,
        snr_db=118.0,
        top1_agreement=1.0,
    )


def telemetry(**fields: Any) -> Telemetry:
    absent = {
        "cpu_frequency": "cpu0 has no cpufreq driver (usual inside a virtual machine)",
        "temperature": "no CPU thermal zone or hwmon sensor (usual inside a virtual machine)",
    }
    return Telemetry(**{"background_cpu_ratio": 0.03, "steal_ratio": 0.0, "absent": absent} | fields)


def measurement(samples: Sequence[float] | np.ndarray, job_id: int = 1, **fields: Any) -> Measurement:
    known: dict[str, Any] = {
        "attempt_id": job_id,
        "job_id": job_id,
        "epoch": 1,
        "latency_samples_seconds": tuple(float(value) for value in samples),
        "warmup_samples_seconds": (0.09, 0.071, 0.07),
        "import_seconds": 1.3,
        "load_seconds": 0.21,
        "first_inference_seconds": 0.094,
        "memory_baseline_bytes": 38 * MIB,
        "memory_peak_bytes": 214 * MIB,
        "parity": parity(),
        "non_finite_outputs": 0,
        "stopped_by": "interval",
        "cpus_allowed": (0, 1),
        "runtime_versions": {"torch": "2.13.0+cpu"},
        "telemetry": telemetry(),
        "started_at": AT,
    }
    return Measurement(**known | fields)


def device(id: str = "local-cpu", *, virtual: bool = False, **facts: Any) -> Device:
    known: dict[str, Any] = {
        "platform": "linux",
        "device_model": "AMD EPYC 7B13",
        "soc": "AMD EPYC 7B13",
        "abi": "x86_64",
        "os_version": "Debian 12, Linux 6.1.0",
        "memory_bytes": 8 * 2**30,
        "cpu_count": 2,
        "runtimes": ("pytorch", "onnxruntime"),
        "virtual": virtual,
        "hypervisor": None if virtual else "kvm",
    }
    return Device(id=id, agent="local", host="local", facts=DeviceFacts(**known | facts), last_seen_at=AT)


def artifact(name: str, size_bytes: int = 18 * MIB, notes: Sequence[str] = ()) -> Artifact:
    return Artifact(
        key=sha(name),
        files=(Blob(name="model.bin", sha256=sha(f"{name} file"), size_bytes=size_bytes),),
        report=BuildReport(
            seconds=9.4,
            peak_rss_bytes=900 * MIB,
            tool_versions={"torch": "2.13.0+cpu"},
            notes=tuple(notes),
            network_isolated=True,
        ),
    )


def job(name: str, id: int = 1, run_id: int = 1, device_id: str = "local-cpu", **fields: Any) -> Job:
    known: dict[str, Any] = {
        "recipe": recipe(name),
        "build_key": sha(name),
        "device_id": device_id,
        "scenario": Scenario(),
        "state": JobState.FINISHED,
        "epoch": 1,
    }
    return Job(id=id, run_id=run_id, **known | fields)


def finished(
    name: str,
    samples: Sequence[float] | np.ndarray,
    *,
    id: int = 1,
    run_id: int = 1,
    on: Device | None = None,
    scenario: Scenario | None = None,
    size_bytes: int = 18 * MIB,
    protocol: Protocol = PROTOCOL,
    of: Recipe | None = None,
    **fields: Any,
) -> JobOutcome:
    on = on or device()
    done = job(name, id, run_id, on.id, scenario=scenario or Scenario(), recipe=of or recipe(name))
    built = artifact(name, size_bytes)
    result = conclude(done, built, measurement(samples, id, **{"batch": done.batch} | fields), protocol)
    return JobOutcome(job=done, device=on, artifact=built, result=result)


def failed(
    name: str, *, id: int = 1, run_id: int = 1, on: Device | None = None, scenario: Scenario | None = None
) -> JobOutcome:
    on = on or device()
    failure = Failure(
        fault="recipe",
        code="build-failed",
        message="Converting to LiteRT failed: aten.upsample_bicubic2d is not supported.",
        remedy="Take another runtime, or replace the operator in the model.",
        log_tail='RuntimeError: lowering aten.upsample_bicubic2d.vec\n  File "model.py", line 41, in forward',
    )
    lost = job(name, id, run_id, on.id, state=JobState.FAILED, failure=failure, scenario=scenario or Scenario())
    return JobOutcome(job=lost, device=on)


def run(id: int = 1, model_name: str = "efficientnet-lite0", protocol: Protocol = PROTOCOL, name: str = "") -> Run:
    spec = RunSpec(
        model=model_name,
        recipes=(recipe("pytorch"), recipe("onnxruntime")),
        devices="platform=linux",
        scenarios=(Scenario(), Scenario(threads=2)),
        protocol=protocol,
        name=name,
    )
    return Run(
        id=id,
        spec=spec,
        model_id=sha(model_name),
        model_name=model_name,
        state=RunState.FINISHED,
        created_by="lea",
        created_at=AT,
        finished_at=AT + timedelta(seconds=148),
    )
