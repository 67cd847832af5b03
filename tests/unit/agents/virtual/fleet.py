"""A plain kind of virtual device and a lease for it."""

from __future__ import annotations

from typing import Any

from agents.virtual.profile import Kind, Profile
from farm.types import Lease, Protocol, Scenario
from tests.values import blob

THERMAL = {"rise_celsius": 30.0, "time_constant_seconds": 60.0, "throttle_celsius": 45.0, "limit_celsius": 55.0}


def kind(**changes: Any) -> Kind:
    """``latency`` and ``thermal`` are merged key by key."""
    latency = {"median_seconds": 0.01} | changes.pop("latency", {})
    thermal = THERMAL | changes.pop("thermal", {})
    fields: dict[str, Any] = {
        "name": "phone",
        "platform": "android",
        "soc": "VSOC",
        "abi": "arm64-v8a",
        "os_version": "15",
        "memory_gib": 8,
        "cpu_count": 8,
        "clock_ghz": 2,
    }
    return Kind(**fields | changes, latency=latency, thermal=thermal)


def profile(*kinds: Kind, **changes: Any) -> Profile:
    return Profile(kinds=kinds or (kind(),), **changes)


def lease(attempt_id: int = 1, **changes: Any) -> Lease:
    fields: dict[str, Any] = {
        "job_id": attempt_id,
        "epoch": 1,
        "device_id": "fleet-virtual-0000",
        "runtime": "onnxruntime",
        "files": (blob("model.onnx"),),
        "example_inputs": blob("example.npz"),
        "parity_inputs": blob("parity.npz"),
        "reference_outputs": blob("reference.npz"),
        "scenario": Scenario(threads=1),
        "protocol": Protocol(),
        "ttl_seconds": 30.0,
    }
    return Lease(attempt_id=attempt_id, **fields | changes)
