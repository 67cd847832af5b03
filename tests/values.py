"""Plain values of farm.types for tests that need some but care about few of their fields."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from farm.types import (
    Artifact,
    Blob,
    BuildReport,
    Device,
    DeviceFacts,
    DeviceState,
    Estimate,
    Model,
    ModelFormat,
    ModelSpec,
    Parity,
    ParityLimits,
    Recipe,
    RecipeInfo,
    Result,
    RunSpec,
    Telemetry,
    TensorSpec,
    Verdict,
    VerdictLevel,
)

NOW = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
LIMITS = ParityLimits(min_cosine=0.9999, max_abs_error_ratio=0.001)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def blob(name: str, content: str = "") -> Blob:
    return Blob(name=name, sha256=sha256(content or name), size_bytes=len(content or name))


def model_spec(name: str = "net", **changes: Any) -> ModelSpec:
    fields: dict[str, Any] = {
        "name": name,
        "format": ModelFormat.PT2,
        "program": blob("model.pt2"),
        "inputs": (TensorSpec(name="x", shape=(1, 3), dtype="float32"),),
        "example_inputs": blob("example.npz"),
        "parity_inputs": blob("parity.npz"),
        "reference_outputs": blob("reference.npz"),
    }
    return ModelSpec(**fields | changes)


def model(name: str = "net", **changes: Any) -> Model:
    spec = model_spec(name, **changes)
    return Model(id=spec.id, spec=spec, created_by="ada", created_at=NOW)


def recipe(name: str = "onnxruntime", runtime: str = "", **changes: Any) -> Recipe:
    return Recipe(name=name, runtime=runtime or name, parity=LIMITS, **changes)


def recipe_info(given: Recipe, **changes: Any) -> RecipeInfo:
    fields: dict[str, Any] = {
        "recipe": given,
        "summary": "",
        "usable": True,
        "accepts": (ModelFormat.PT2, ModelFormat.ONNX),
    }
    return RecipeInfo(**fields | changes)


def device(id: str = "host-a", *, state: DeviceState = DeviceState.ONLINE, **changes: Any) -> Device:
    outside = {key: changes.pop(key) for key in ("agent", "host", "labels") if key in changes}
    facts: dict[str, Any] = {
        "platform": "linux",
        "device_model": "HAL 9000",
        "soc": "SM8650",
        "abi": "x86_64",
        "os_version": "6.1.0-13",
        "memory_bytes": 8 * 2**30,
        "cpu_count": 4,
        "runtimes": ("pytorch", "onnxruntime"),
    }
    return Device(
        id=id, **{"agent": "local", "host": "bench", **outside}, facts=DeviceFacts(**facts | changes), state=state
    )


def run_spec(**changes: Any) -> RunSpec:
    fields: dict[str, Any] = {"model": "net", "recipes": (recipe("pytorch"), recipe("onnxruntime")), "devices": "each"}
    return RunSpec(**fields | changes)


def artifact(key: str) -> Artifact:
    report = BuildReport(seconds=1.5, peak_rss_bytes=None, tool_versions={"torch": "2"}, network_isolated=True)
    return Artifact(key=key, files=(blob("model.onnx"),), report=report)


def result(job_id: int, **changes: Any) -> Result:
    fields: dict[str, Any] = {
        "job_id": job_id,
        "epoch": 1,
        "latency_seconds": {"p50": Estimate(value=0.01, low=0.009, high=0.011)},
        "latency_mean_seconds": 0.01,
        "confidence": 0.95,
        "sample_count": 50,
        "import_seconds": 0.1,
        "load_seconds": 0.1,
        "first_inference_seconds": 0.1,
        "memory_peak_bytes": None,
        "memory_over_baseline_bytes": None,
        "artifact_bytes": 10,
        "parity": Parity(
            samples=1, max_abs_error=0.0, max_rel_error=0.0, reference_abs_max=1.0, cosine=1.0, snr_db=90.0
        ),
        "telemetry": Telemetry(),
        "verdict": Verdict(level=VerdictLevel.TRUSTED),
        "measured_at": NOW,
    }
    return Result(**fields | changes)
