"""From "job ready and device idle" to "harness started", through the real farm: store, coordinator, Ray, agent.

    python -m tests.bench.dispatch

One host device works off a queue of short jobs whose artifact is built. The device is idle when the agent has
noted that a harness ended; the harness is started when the agent has its process. Both times are the agent's own.
What the new process needs until the harness runs (interpreter, numpy) is not ours to dispatch and is stated apart.
"""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import farm
from tests.bench import report

JOBS = 40


def interpreter_seconds() -> float:
    """Start of an interpreter with numpy, which every harness pays before its first record."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import numpy"], timeout=60, check=True)
    return time.perf_counter() - began


def gaps(client: farm.Client) -> list[float]:
    """Seconds between the end of one harness and the start of the next, in a queue of equal jobs."""
    import torch

    protocol = farm.Protocol(
        min_warmup_seconds=0,
        min_warmup_runs=1,
        min_samples=10,
        min_seconds=0,
        max_samples=10,
        max_seconds=1,
        timeout_seconds=60,
    )
    model = client.add_model(torch.nn.Linear(8, 8), example_inputs=(torch.ones(1, 8),), name="linear")
    runs = [
        client.submit(model.id, recipes=["onnxruntime"], devices="platform=linux", protocol=protocol)
        for _ in range(JOBS)
    ]
    for run in runs:
        run.wait()
    attempts = sorted(
        (attempt for run in runs for outcome in run.outcomes() for attempt in client.attempts(outcome.job.id)),
        key=lambda attempt: attempt.started_at,
    )
    return [(after.started_at - before.ended_at).total_seconds() for before, after in itertools.pairwise(attempts)]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, farm.embedded_farm(Path(folder) / "state") as client:
        while not client.devices():
            time.sleep(0.1)
        waits = gaps(client)
    interpreter = [interpreter_seconds() for _ in range(7)]
    quantiles = statistics.quantiles(waits, n=100, method="inclusive")
    figures = {
        "p50_seconds": statistics.median(waits),
        "p99_seconds": quantiles[98],
        "max_seconds": max(waits),
        "jobs": len(waits) + 1,
        "idle_devices": 0,
        "interpreter_start_seconds": statistics.median(interpreter),
    }
    print(report.table([("figure", "value"), *((name, float(value)) for name, value in figures.items())]))
    print(f"\nWritten to {report.write('dispatch', figures)}.")


if __name__ == "__main__":
    main()
