"""The agent with the real harness, on the CPU of this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from agents.agent import Agent
from farm.config import Settings
from farm.errors import InfrastructureError
from farm.store.artifacts import ArtifactStore
from farm.types import AgentEvent, Blob, CustomOperators, Lease, Protocol, Scenario

pytestmark = pytest.mark.real_models
onnx = pytest.importorskip("onnx", reason="needs the onnxruntime extra")
pytest.importorskip("onnxruntime", reason="needs the onnxruntime extra")

QUICK = Protocol(min_warmup_seconds=0.01, min_samples=20, min_seconds=0, max_seconds=1, target_half_width_ratio=0.5)
ENDLESS = Protocol(min_seconds=50, max_seconds=50, timeout_seconds=60, max_samples=10_000_000)


class Bench:
    """An artifact store with one small model, and an agent's settings."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(state_dir=folder / "state", store_url=(folder / "store").as_uri(), agent_name="bench")
        self.store = ArtifactStore(self.settings.resolved_store_url)
        weights = np.eye(64, dtype=np.float32)
        sample = np.arange(64, dtype=np.float32).reshape(1, 64)
        self.model = self.put(folder / "model.onnx", _matmul(weights))
        self.inputs = self.put_arrays(folder / "inputs.npz", {"0.0": sample})
        self.reference = self.put_arrays(folder / "reference.npz", {"0.0": sample @ weights})

    def put(self, path: Path, content: bytes) -> Blob:
        path.write_bytes(content)
        return self.store.put_file(path)

    def put_arrays(self, path: Path, arrays: dict[str, np.ndarray]) -> Blob:
        np.savez(path, **arrays)
        return self.store.put_file(path)

    def lease(self, attempt_id: int = 1, protocol: Protocol = QUICK, ttl_seconds: float = 30) -> Lease:
        return Lease(
            attempt_id=attempt_id,
            job_id=attempt_id,
            epoch=1,
            device_id="bench-cpu",
            runtime="onnxruntime",
            files=(self.model,),
            example_inputs=self.inputs,
            parity_inputs=self.inputs,
            reference_outputs=self.reference,
            scenario=Scenario(threads=1),
            protocol=protocol,
            ttl_seconds=ttl_seconds,
        )

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[Agent]:
        agent = Agent(self.settings)
        try:
            yield agent
        finally:
            agent.reconcile({})
            await agent.close()


def _matmul(weights: np.ndarray) -> bytes:
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "matmul",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 64])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return model.SerializeToString()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def next_event(agent: Agent, after: int = 0, timeout_seconds: float = 30) -> AgentEvent:
    events = await agent.events(after, timeout_seconds)
    assert events, "the agent reported nothing in time"
    return events[0]


def harness_processes() -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "agents.harness" in (process.info["cmdline"] or []) and process.is_running()
    ]


def harness_processes_of(bench: Bench) -> list[psutil.Process]:
    return [p for p in harness_processes() if str(bench.settings.state_dir) in " ".join(p.cmdline())]


def harness_of(bench: Bench) -> psutil.Process:
    deadline = time.monotonic() + 5  # for a moment it still is the process it was forked from
    while not (found := harness_processes_of(bench)) and time.monotonic() < deadline:
        time.sleep(0.01)
    (mine,) = found
    return mine


def test_a_lease_becomes_a_measurement_and_is_gone_once_acknowledged(bench: Bench) -> None:
    async def scene() -> None:
        async with bench.agent() as agent:
            agent.start(bench.lease())
            agent.start(bench.lease())  # repeated: does nothing
            started = await next_event(agent)
            measured = await next_event(agent, started.seq)
            assert (started.kind, measured.kind) == ("started", "measured"), measured.failure
            measurement = measured.measurement
            assert measurement is not None
            assert len(measurement.latency_samples_seconds) >= 20
            assert measurement.parity is not None
            assert measurement.parity.max_abs_error < 1e-4
            assert measurement.cpus_allowed == (sorted(os.sched_getaffinity(0))[-1],)
            assert measurement.telemetry.background_cpu_ratio is not None
            assert agent.reconcile({}) == []
            agent.acknowledge(measured.seq)
            assert await agent.events(0, 0.01) == []
            assert not list((bench.settings.state_dir / "agents" / "bench" / "attempts").iterdir())

    asyncio.run(scene())


def test_a_device_is_never_leased_twice(bench: Bench) -> None:
    async def scene() -> None:
        async with bench.agent() as agent:
            agent.start(bench.lease(1, ENDLESS))
            with pytest.raises(InfrastructureError, match="still runs attempt 1"):
                agent.start(bench.lease(2))

    asyncio.run(scene())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_harness_that_dies_is_reported_with_its_side(bench: Bench, number: signal.Signals) -> None:
    async def scene() -> None:
        async with bench.agent() as agent:
            agent.start(bench.lease(protocol=ENDLESS))
            started = await next_event(agent)
            harness_of(bench).send_signal(number)
            failed = await next_event(agent, started.seq)
            assert failed.failure is not None
            if number is signal.SIGKILL:
                assert failed.failure.fault == "infrastructure", "somebody else killed it: worth another try"
            else:
                assert failed.failure.fault == "device"
                assert "SIGSEGV" in failed.failure.message

    asyncio.run(scene())


def test_a_time_out_kills_the_harness(bench: Bench) -> None:
    async def scene() -> None:
        async with bench.agent() as agent:
            agent.start(bench.lease(protocol=Protocol(max_seconds=0.01, timeout_seconds=0.05)))
            started = await next_event(agent)
            harness = harness_of(bench)
            failed = await next_event(agent, started.seq)
            assert failed.failure is not None
            assert "killed after 0.05 s" in failed.failure.message
            assert not harness.is_running()

    asyncio.run(scene())


@pytest.mark.parametrize("end", ["withdrawn", "expired"])
def test_an_agent_ends_what_the_head_no_longer_holds(bench: Bench, end: str) -> None:
    async def scene() -> None:
        async with bench.agent() as agent:
            agent.start(bench.lease(protocol=ENDLESS, ttl_seconds=30 if end == "withdrawn" else 3))
            started = await next_event(agent)
            harness = harness_of(bench)
            if end == "withdrawn":
                assert agent.reconcile({1: 30.0}) == [1]
                assert agent.reconcile({}) == []
            failed = await next_event(agent, started.seq)
            assert failed.failure is not None
            assert failed.failure.fault == "infrastructure"
            harness.wait(timeout=5)

    asyncio.run(scene())


def test_a_restarted_agent_adopts_the_harness_in_flight(bench: Bench) -> None:
    async def scene() -> None:
        first = Agent(bench.settings)
        first.start(bench.lease(protocol=QUICK.model_copy(update={"min_warmup_seconds": 1.5})))
        started = await next_event(first)
        harness = harness_of(bench)
        await first.close()
        assert harness.is_running()
        async with bench.agent() as second:
            assert second.reconcile({1: 30.0}) == [1]
            measured = await next_event(second, started.seq)
            assert measured.kind == "measured", measured.failure
            assert measured.measurement is not None
            assert "restarted" in measured.measurement.telemetry.absent["background_cpu_ratio"]

    asyncio.run(scene())


def test_a_harness_that_died_while_the_agent_was_away_is_reported(bench: Bench) -> None:
    async def scene() -> None:
        first = Agent(bench.settings)
        first.start(bench.lease(protocol=ENDLESS))
        started = await next_event(first)
        harness = harness_of(bench)
        await first.close()
        harness.kill()
        await asyncio.sleep(0.2)
        async with bench.agent() as second:
            failed = await next_event(second, started.seq)
            assert failed.failure is not None
            assert failed.failure.fault == "infrastructure"

    asyncio.run(scene())


def step_the_wall_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """As far as this process can see: what the kernel calls the time, and when by that the machine booted."""
    now, booted = time.time, psutil.boot_time()
    monkeypatch.setattr(time, "time", lambda: now() + seconds)
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: booted + seconds)


def test_a_step_of_the_wall_clock_ends_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    day_seconds = 86400.0

    async def scene() -> None:
        first = Agent(bench.settings)
        first.start(bench.lease(protocol=ENDLESS))
        await next_event(first)
        harness = harness_of(bench)
        for step_seconds in (day_seconds, -2 * day_seconds):
            step_the_wall_clock(monkeypatch, step_seconds)
            await asyncio.sleep(1.2)  # the watchdog looks twice
            assert first.reconcile({1: 30.0}) == [1]
        await first.close()
        async with bench.agent() as second:
            await asyncio.sleep(1.2)
            assert second.reconcile({1: 30.0}) == [1], "it is adopted"
            assert harness.is_running()
            assert await second.events(1, 0.01) == []
            second.reconcile({})
            harness.wait(timeout=5)

    asyncio.run(scene())


def test_a_measurement_over_a_step_of_the_wall_clock_is_whole(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        async with bench.agent() as agent:
            agent.start(bench.lease())
            started = await next_event(agent)
            step_the_wall_clock(monkeypatch, -86400.0)
            assert (await next_event(agent, started.seq)).kind == "measured"

    asyncio.run(scene())


def test_a_missing_artifact_is_a_failure_with_its_reason(bench: Bench) -> None:
    async def scene() -> None:
        bench.store.local_path(bench.model.sha256).unlink()  # type: ignore[union-attr]
        bench.settings = bench.settings.model_copy(update={"url": "http://127.0.0.1:1"})
        async with bench.agent() as agent:
            agent.start(bench.lease())
            failed = await next_event(agent)
            assert failed.failure is not None
            assert failed.failure.fault == "infrastructure"
            assert "could not be fetched" in failed.failure.message

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("allowed", "told"), [(False, "libown.so is code of a user"), (True, "loading custom operators into onnxruntime")]
)
def test_code_of_users_is_run_only_where_the_machine_allows_it(
    bench: Bench, tmp_path: Path, allowed: bool, told: str
) -> None:
    own = CustomOperators(runtime="onnxruntime", kind="library", file=bench.put(tmp_path / "libown.so", b"no library"))
    bench.settings = bench.settings.model_copy(update={"allow_custom_operators": allowed})

    async def scenario() -> AgentEvent:
        async with bench.agent() as agent:
            agent.start(bench.lease().model_copy(update={"custom_operators": own}))
            event = await next_event(agent)
            while event.kind == "started":
                event = await next_event(agent, event.seq)
            return event

    event = asyncio.run(scenario())
    assert event.failure is not None
    assert told in event.failure.message
