"""A job on a phone, from the lease to the first sample, with the real harness out of the phone runtime.

    python -m tests.bench.android_job

On a virtual x86_64 phone in the agent's own process, whose processor time is the phone's, too. Cold: nothing is on the
phone; warm: the runtime and the model are there. Then what an agent costs that has many phones, which are in a process
of their own, while they idle and while each runs a job that sleeps. Needs
`farm phone-runtime build --abi x86_64 --with onnxruntime`.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable
from pathlib import Path

from agents.agent import Agent
from agents.android.phone import ATTEMPTS
from agents.phone_runtime import bundle as bundles
from agents.virtual.phone import VirtualPhone
from farm.config import Settings
from farm.types import Protocol
from tests.bench import report
from tests.bench.elsewhere import beside
from tests.integration.agents.android.scene import Scene, adb_server, scene, stand_in_bundle, until
from tests.integration.agents.test_agent import Bench

WARM_JOBS = 7
SAMPLED = Protocol(min_seconds=10, max_seconds=12, idle_seconds=0)
PHONES = 16
WATCHED_SECONDS = 20.0
PROTOCOL = Protocol(min_warmup_seconds=0.01, min_samples=20, min_seconds=0, max_seconds=1, idle_seconds=0)


def _records(it: Scene) -> list[dict[str, object]]:
    """As far as they are written, seen from outside the phone."""
    for path in it.phone.machine.resolve(ATTEMPTS).glob("*/records.jsonl"):
        lines = path.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]
    return []


async def job(it: Scene, bench: Bench, attempt_id: int, protocol: Protocol = PROTOCOL) -> dict[str, float]:
    """Seconds from the lease until the harness was launched, until its first record and until its first inference, and
    streams to the phone."""
    server = it.driver._servers[0]
    lease = bench.lease(attempt_id, protocol).model_copy(update={"device_id": it.phone.serial})
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
    assert event.measurement, event.failure
    if (ratio := event.measurement.telemetry.sampler_cpu_ratio) is not None:
        figures["sampler"] = ratio
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
            sampled = await job(it, bench, WARM_JOBS + 2, SAMPLED)
    median = {key: statistics.median(one[key] for one in warm) for key in warm[0] if key != "sampler"}
    return {
        "cold_lease_to_first_sample_seconds": cold["first_sample"],
        "warm_lease_to_first_sample_seconds": median["first_sample"],
        "warm_lease_to_first_record_seconds": median["first_record"],
        "warm_job_seconds": median["whole"],
        "cold_adb_commands_per_job": cold["commands"],
        "adb_commands_per_job": median["commands"],
        "sampler_cpu_ratio": sampled["sampler"],
        "warm_jobs": WARM_JOBS,
    }


async def serve(folder: Path) -> None:
    phones = [VirtualPhone("galaxy-s23", "x86_64", folder / f"phone-{number}") for number in range(PHONES)]
    try:
        for phone in phones:
            await phone.start()
        print(json.dumps([phone.port for phone in phones]), flush=True)
        await asyncio.to_thread(sys.stdin.read)
    finally:
        for phone in phones:
            await phone.stop()


async def many() -> dict[str, float | int]:
    """Processor time of an agent with many phones, by phone."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench, runtime = Bench(folder), folder / "runtime"
        runtime.mkdir()
        stand_in_bundle(runtime)
        async with beside("tests.bench.android_job", folder) as ports, adb_server(folder) as server:
            settings = bench.settings.model_copy(
                update={
                    "agent_host_device": False,
                    "agent_android": True,
                    "agent_adb_servers": (str(server),),
                    "phone_runtime_dir": runtime,
                }
            )
            agent = Agent(settings)
            try:
                for port in json.loads(ports):
                    await server.connect(f"127.0.0.1:{port}")
                await until(lambda: sum(not one.blocked for one in agent.info().devices or ()) == PHONES, 120)
                idle = await _spent(asyncio.sleep(WATCHED_SECONDS))
                devices = [one.id for one in agent.info().devices or ()]
                busy = await _spent(_all_at_once(agent, bench, devices))
            finally:
                agent.reconcile({})
                await agent.close()
    return {
        "phones": PHONES,
        "phones_per_agent_cpu": PHONES / busy,
        "agent_cpu_ratio_per_idle_phone": idle / PHONES,
        "agent_cpu_ratio_per_busy_phone": busy / PHONES,
    }


async def _all_at_once(agent: Agent, bench: Bench, devices: list[str]) -> None:
    for number, device_id in enumerate(devices, 1):
        update = {"device_id": device_id, "options": {"seconds": int(WATCHED_SECONDS)}}
        agent.start(bench.lease(number, PROTOCOL, ttl_seconds=300).model_copy(update=update))
    seq = ended = 0
    while ended < len(devices):
        for event in await agent.events(seq, 60):
            assert event.failure is None, event.failure
            seq, ended = event.seq, ended + (event.kind == "measured")


async def _spent(work: Awaitable[None]) -> float:
    """Of a CPU, by this process, while it goes on."""
    cpu, wall = time.process_time(), time.perf_counter()
    await work
    return (time.process_time() - cpu) / (time.perf_counter() - wall)


def main() -> None:
    if len(sys.argv) > 1:
        asyncio.run(serve(Path(sys.argv[1])))
        return
    figures = asyncio.run(measure()) | asyncio.run(many())
    print(report.table([("figure", "value"), *((name, float(value)) for name, value in figures.items())]))
    print(f"\nWritten to {report.write('android_job', figures)}.")


if __name__ == "__main__":
    main()
