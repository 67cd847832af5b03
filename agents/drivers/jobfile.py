"""JOB.json: a lease in the harness's words (``agents.harness.job``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from farm.types import Lease

EVALUATION = "evaluation.npz"


def document(lease: Lease, path: Callable[[str], str], cpus: Sequence[int], folder: str) -> dict[str, Any]:
    """``path``: where on the device the file with this hash lies; ``folder``: where the harness may write there."""
    operators = lease.custom_operators
    evaluation = {
        "inputs": path(lease.evaluation_inputs.sha256),
        "outputs": f"{folder}/{EVALUATION}",
        "max_bytes": lease.evaluation_max_bytes,
        "max_seconds": lease.protocol.evaluation_max_seconds,
    } if lease.evaluation_inputs else None  # fmt: skip
    processing = {
        "inputs": path(lease.raw_example.sha256) if lease.raw_example else None,
        "before": [step.model_dump() for step in lease.preprocessing],
        "after": [step.model_dump() for step in lease.postprocessing],
    } if lease.preprocessing or lease.postprocessing else None  # fmt: skip
    return {
        "runtime": lease.runtime,
        "options": lease.options,
        "files": {file.name: path(file.sha256) for file in lease.files},
        "custom_operators": {"kind": operators.kind, "file": path(operators.file.sha256)} if operators else None,
        "example_inputs": path(lease.example_inputs.sha256),
        "parity_inputs": path(lease.parity_inputs.sha256),
        "reference_outputs": path(lease.reference_outputs.sha256),
        "threads": lease.scenario.threads,
        "batch": lease.batch,
        "cpus": list(cpus),
        "protocol": lease.protocol.model_dump(),
        "records": f"{folder}/records.jsonl",
        "evaluation": evaluation,
        "processing": processing,
    }
