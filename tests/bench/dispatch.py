"""From "job ready and device idle" to "harness started", through the real farm: store, coordinator, Ray, agent.

    python -m tests.bench.dispatch

One host device works off a queue of short jobs whose artifact is built. The device is idle when the agent has
noted that a harness ended; the harness is started when the agent has its process. Both times are the agent's own.
The host is measured beside 1,000 virtual devices that idle, and (``alone_*``) beside none.
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
IDLE_DEVICES = 1000


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
        client.submit(model.id, recipes=["onnxruntime"], devices="virtual=false", protocol=protocol)
        for _ in range(JOBS)
    ]
    for run in runs:
        run.wait()
    attempts = sorted(
        (attempt for run in runs for outcome in run.outcomes() for attempt in client.attempts(outcome.job.id)),
        key=lambda attempt: attempt.started_at,
    )
    return [(after.started_at - before.ended_at).total_seconds() for before, after in itertools.pairwise(attempts)]


def waits(idle_devices: int) -> list[float]:
    """``gaps`` of a farm of its own, with so many idle devices beside the host."""
    environment = {"FARM_AGENT_VIRTUAL_DEVICES": str(idle_devices)}
    with tempfile.TemporaryDirectory() as folder, farm.embedded_farm(Path(folder) / "state", environment) as client:
        while len(client.devices()) <= idle_devices:
            time.sleep(0.1)
        return gaps(client)


def quantiles(prefix: str, seconds: list[float]) -> dict[str, float]:
    return {
        f"{prefix}p50_seconds": statistics.median(seconds),
        f"{prefix}p99_seconds": statistics.quantiles(seconds, n=100, method="inclusive")[98],
        f"{prefix}max_seconds": max(seconds),
    }


def main() -> None:
    alone, among = waits(0), waits(IDLE_DEVICES)
    figures = {
        **quantiles("", among),
        **quantiles("alone_", alone),
        "jobs": len(among) + 1,
        "idle_devices": IDLE_DEVICES,
        "interpreter_start_seconds": statistics.median(interpreter_seconds() for _ in range(7)),
    }
    print(report.table([("figure", "value"), *((name, float(value)) for name, value in figures.items())]))
    print(f"\nWritten to {report.write('dispatch', figures)}.")


if __name__ == "__main__":
    main()
