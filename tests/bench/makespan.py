"""How close a full queue keeps a fleet to always busy: 64 virtual devices, jobs of one second, through the real farm.

    python -m tests.bench.makespan [DEVICES [JOBS_PER_DEVICE]]

Ideal is the time the jobs themselves take on each device, one after the other. The makespan goes from the first lease
to the last end, by the clocks of head and agent, which are one here. All jobs are queued while the first ones run; the
artifact is built before.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import farm
from agents.virtual import model
from agents.virtual.profile import parse_profile
from farm.types import Blob, JobState, Lease
from tests.bench import report

DEVICES, JOBS_PER_DEVICE = 64, 10
PROTOCOL = farm.Protocol(min_warmup_seconds=0, min_samples=50, max_samples=50, min_seconds=0)
# No two devices, artifacts or inferences differ: what is not ideal is the farm's doing.
PROFILE = """
time_scale: {time_scale}
kinds:
  - {{name: metronome, platform: linux, soc: none, abi: none, os_version: "1", memory_gib: 1, cpu_count: 1,
     clock_ghz: 1, speed_spread: 0, latency: {{median_seconds: 0.01, artifact_spread: 0, pairing_spread: 0, noise: 0,
     first_factor: 1, import_seconds: 0, load_seconds: 0}}, thermal: {{rise_celsius: 0, time_constant_seconds: 1,
     throttle_celsius: 99, limit_celsius: 100}}}}
"""


def one_second_profile() -> str:
    """A profile whose jobs take one second of real time each."""
    blob = Blob(name="any", sha256="0" * 64, size_bytes=0)
    lease = Lease(
        attempt_id=1, job_id=1, epoch=1, device_id="any", runtime="onnxruntime", files=(blob,), example_inputs=blob,
        parity_inputs=blob, reference_outputs=blob, scenario=farm.Scenario(), protocol=PROTOCOL, ttl_seconds=1,
    )  # fmt: skip
    profile = parse_profile(PROFILE.format(time_scale=1), "metronome")
    kind = profile.kinds[0]
    course = model.course(kind, profile.seed, lease, model.Condition.rested(kind))
    return PROFILE.format(time_scale=1 / course.seconds)


def main(devices: int, jobs_per_device: int) -> None:
    import torch

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "metronome.yaml").write_text(one_second_profile())
        environment = {
            "FARM_AGENT_VIRTUAL_DEVICES": str(devices),
            "FARM_AGENT_VIRTUAL_PROFILE": str(folder / "metronome.yaml"),
        }
        with farm.embedded_farm(folder / "state", environment) as client:
            while len(client.devices("virtual=true") if client.devices() else ()) < devices:
                time.sleep(0.1)
            linear = client.add_model(torch.nn.Linear(8, 8), example_inputs=(torch.ones(1, 8),), name="linear")

            def submit(selector: str) -> farm.RunHandle:
                return client.submit(linear.id, recipes=["onnxruntime"], devices=selector, protocol=PROTOCOL)

            submit("virtual=true, any(1)").wait()
            runs = [submit("virtual=true") for _ in range(jobs_per_device)]
            for run in runs:
                run.wait()
            outcomes = [outcome for run in runs for outcome in run.outcomes()]
            attempts = [attempt for outcome in outcomes for attempt in client.attempts(outcome.job.id)]
    spans = [(a.started_at, a.ended_at) for a in attempts if a.started_at and a.ended_at]
    began = min(attempt.leased_at for attempt in attempts)
    makespan_seconds = (max(end for _, end in spans) - began).total_seconds()
    figures = {
        "ratio_to_ideal": makespan_seconds / jobs_per_device,
        "makespan_seconds": makespan_seconds,
        "ideal_seconds": float(jobs_per_device),
        "busy_ratio": sum((end - start).total_seconds() for start, end in spans) / (makespan_seconds * devices),
        **gaps(attempts),
        "devices": devices,
        "jobs": len(outcomes),
        "jobs_finished": sum(outcome.job.state is JobState.FINISHED for outcome in outcomes),
        "attempts": len(attempts),
    }
    print(report.table([("figure", "value"), *((name, float(value)) for name, value in figures.items())]))
    print(f"\nWritten to {report.write('makespan', figures)}.")


def gaps(attempts: list[farm.types.Attempt]) -> dict[str, float]:
    """Where the time between two jobs of a device goes, in the median: until the head has leased it again, until the
    next job runs; and what a job of one second takes longer."""
    of_device: dict[str, list[farm.types.Attempt]] = defaultdict(list)
    for attempt in sorted(attempts, key=lambda attempt: attempt.id):
        of_device[attempt.device_id].append(attempt)
    pairs = [pair for line in of_device.values() for pair in itertools.pairwise(line)]
    return {
        "end_to_lease_seconds": _median((after.leased_at, before.ended_at) for before, after in pairs),
        "lease_to_start_seconds": _median((attempt.started_at, attempt.leased_at) for attempt in attempts),
        "overrun_seconds": _median((attempt.ended_at, attempt.started_at) for attempt in attempts) - 1.0,
    }


def _median(spans: Iterable[tuple[datetime | None, datetime | None]]) -> float:
    return statistics.median((end - start).total_seconds() for end, start in spans if end and start)


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:3]]
    main(*(*given, *(DEVICES, JOBS_PER_DEVICE)[len(given) :]))
