"""A job on a phone, from the lease to the first sample, with the real harness out of the phone runtime.

    python -m tests.bench.android_job

On a virtual x86_64 phone in the agent's own process, whose processor time is the phone's, too. Cold: nothing is on the
phone; warm: the runtime and the model are there. Needs `farm phone-runtime build --abi x86_64 --with onnxruntime`.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

from agents.android.phone import ATTEMPTS
from agents.phone_runtime import bundle as bundles
from farm.config import Settings
from farm.types import Protocol
from tests.bench import report
from tests.integration.agents.android.scene import Scene, scene
from tests.integration.agents.test_agent import Bench

WARM_JOBS = 7
PROTOCOL = Protocol(min_warmup_seconds=0.01, min_samples=20, min_seconds=0, max_seconds=1, idle_seconds=0)


def _records(it: Scene) -> list[dict[str, object]]:
    """As far as they are written, seen from outside the phone."""
    for path in it.phone.machine.resolve(ATTEMPTS).glob("*/records.jsonl"):
        lines = path.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]
    return []


async def job(it: Scene, bench: Bench, attempt_id: int) -> dict[str, float]:
    """Seconds from the lease until the harness was launched, until its first record and until its first inference, and
    streams to the phone."""
    server = it.driver._servers[0]
    lease = bench.lease(attempt_id, PROTOCOL).model_copy(update={"device_id": it.phone.serial})
    requests, began = server.requests, time.perf_counter()
    figures: dict[str, float] = {}
    it.agent.start(lease)
    ended = asyncio.create_task(it.end(120))
    while not ended.done() and "first_sample" not in figures:
        found = _records(it)
        if found:
            figures.setdefault("first_record", time.perf_counter() - began)
        if any(record.get("name") == "first_inference" for record in found):
            figures["first_sample"] = time.perf_counter() - began
        await asyncio.sleep(0.005)
    event = await ended
    assert event.kind == "measured", event.failure
    return figures | {"whole": time.perf_counter() - began, "commands": float(server.requests - requests)}


async def measure() -> dict[str, float | int]:
    runtime = Settings().phone_runtime_dir
    assert bundles.find(runtime, "x86_64"), "needs `farm phone-runtime build --abi x86_64 --with onnxruntime`"
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        async with scene(Path(name), runtime) as it:
            await it.device()
            cold = await job(it, bench, 1)
            warm = [await job(it, bench, number) for number in range(2, WARM_JOBS + 2)]
    median = {key: statistics.median(one[key] for one in warm) for key in warm[0]}
    return {
        "cold_lease_to_first_sample_seconds": cold["first_sample"],
        "warm_lease_to_first_sample_seconds": median["first_sample"],
        "warm_lease_to_first_record_seconds": median["first_record"],
        "warm_job_seconds": median["whole"],
        "cold_adb_commands_per_job": cold["commands"],
        "adb_commands_per_job": median["commands"],
        "warm_jobs": WARM_JOBS,
    }


def main() -> None:
    figures = asyncio.run(measure())
    print(report.table([("figure", "value"), *((name, float(value)) for name, value in figures.items())]))
    print(f"\nWritten to {report.write('android_job', figures)}.")


if __name__ == "__main__":
    main()
