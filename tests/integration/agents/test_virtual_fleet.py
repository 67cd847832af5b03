"""The agent with a virtual fleet: two hundred at once, over a restart, with failures."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from agents.agent import Agent
from farm.config import Settings
from farm.errors import InfrastructureError
from farm.types import AgentEvent, Lease, Protocol
from tests.unit.agents.virtual.fleet import lease

PROFILE = """
time_scale: 0.2
kinds:
  - {name: phone, platform: android, soc: V, abi: arm64-v8a, os_version: "15", memory_gib: 8, cpu_count: 8,
     clock_ghz: 2, latency: {median_seconds: 0.02, artifact_spread: 0},
     thermal: {rise_celsius: 20, time_constant_seconds: 60, throttle_celsius: 60, limit_celsius: 70},
     failures: {crash_ratio: %s, offline_ratio: %s, nan_ratio: %s, offline_seconds: 600}}
"""


def settings(folder: Path, devices: int, failures: tuple[float, float, float] = (0, 0, 0)) -> Settings:
    (folder / "profile.yaml").write_text(PROFILE % failures)
    return Settings(
        state_dir=folder / "state",
        agent_name="fleet",
        agent_host_device=False,
        agent_virtual_devices=devices,
        agent_virtual_profile=folder / "profile.yaml",
    )


def on_device(number: int) -> Lease:
    """About three simulated seconds, so 0.6 s."""
    protocol = Protocol(max_samples=100, min_warmup_seconds=0.02, min_warmup_runs=30)
    return lease(number + 1, device_id=f"fleet-virtual-{number:04d}", protocol=protocol)


async def ends(agent: Agent, count: int, after: int = 0) -> list[AgentEvent]:
    """The ends of ``count`` attempts, in the order of the journal."""
    found: list[AgentEvent] = []
    deadline = time.monotonic() + 60
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} in time"
        for event in await agent.events(after, 1):
            after = event.seq
            found += [event] if event.kind != "started" else []
    return found


def test_two_hundred_devices_measure_at_the_same_time(tmp_path: Path) -> None:
    async def scene() -> None:
        agent = Agent(settings(tmp_path, 200))
        devices = agent.info().devices
        assert devices is not None
        assert len(devices) == 200
        threads, children = psutil.Process().num_threads(), set(psutil.Process().children())
        began = time.monotonic()
        for number in range(200):
            agent.start(on_device(number))
        with pytest.raises(InfrastructureError, match="still runs attempt 8"):
            agent.start(lease(1000, device_id="fleet-virtual-0007"))
        found = await ends(agent, 200)
        assert time.monotonic() - began < 30, "in turns they would take two minutes"
        assert {event.kind for event in found} == {"measured"}
        assert {event.attempt_id for event in found} == set(range(1, 201))
        assert psutil.Process().num_threads() == threads, "no thread per device"
        assert set(psutil.Process().children()) <= children, "nor a process"
        assert agent.reconcile({}) == []
        await agent.close()

    asyncio.run(scene())


def test_a_restarted_agent_goes_on_with_the_same_figures(tmp_path: Path) -> None:
    async def scene() -> None:
        given = settings(tmp_path, 5)
        first = Agent(given)
        for number in range(5):
            first.start(on_device(number))
        started = []
        while len(started) < 5:
            started += await first.events(started[-1].seq if started else 0, 5)
        await first.close()
        second = Agent(given)
        assert second.reconcile(dict.fromkeys(range(1, 6), 30.0)) == [1, 2, 3, 4, 5]
        found = await ends(second, 5)
        assert {event.kind for event in found} == {"measured"}
        await second.close()

        samples = {e.attempt_id: e.measurement.latency_samples_seconds for e in found if e.measurement}
        assert len(set(samples.values())) == 5
        again = Agent(given)  # a second life of the same attempts, not interrupted
        again.acknowledge(found[-1].seq)
        for number in range(5):
            again.start(on_device(number))
        repeated = await ends(again, 5, found[-1].seq)
        await again.close()
        assert samples == {e.attempt_id: e.measurement.latency_samples_seconds for e in repeated if e.measurement}

    asyncio.run(scene())


def test_failures_and_absences_appear(tmp_path: Path) -> None:
    async def scene() -> None:
        agent = Agent(settings(tmp_path, 200, failures=(0.2, 0.1, 0.2)))
        before = agent.info()
        assert agent.info(before.revision).devices is None, "nothing is sent twice"
        for number in range(200):
            agent.start(on_device(number))
        found = await ends(agent, 200)
        faults = Counter(event.failure.fault for event in found if event.failure)
        assert 20 <= faults["device"] <= 60
        assert 8 <= faults["infrastructure"] <= 36
        invalid = [event for event in found if event.measurement and event.measurement.non_finite_outputs]
        assert 12 <= len(invalid) <= 50
        after = agent.info(before.revision)
        assert after.devices is not None
        assert len(after.devices) == 200 - faults["infrastructure"], "the others are offline"
        gone = next(event.attempt_id for event in found if event.failure and event.failure.fault == "infrastructure")
        with pytest.raises(InfrastructureError, match="not attached"):
            agent.start(on_device(gone - 1).model_copy(update={"attempt_id": 1000}))
        await agent.close()

    asyncio.run(scene())


def test_a_thousand_idle_devices_cost_almost_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        agent = Agent(settings(tmp_path, 1000))
        revision = agent.info().revision
        began = time.process_time()
        for _ in range(100):
            assert agent.info(revision).devices is None
        await asyncio.sleep(1)
        assert time.process_time() - began < 0.2
        await agent.close()

    asyncio.run(scene())


def test_a_stale_fencing_token_is_refused_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Attempt 1 of job 7 was given up by the head, attempt 2 is the one that counts."""
    caplog.set_level("INFO")
    stale = on_device(0).model_copy(update={"job_id": 7, "epoch": 1})
    newer = on_device(1).model_copy(update={"job_id": 7, "epoch": 2})

    async def scene() -> None:
        agent = Agent(settings(tmp_path, 2))
        agent.start(stale)
        agent.start(newer)
        while (started := await agent.events(0, 5))[-1].attempt_id != 2:
            await agent.events(started[-1].seq, 5)
        assert agent.reconcile({1: 30.0, 2: 30.0, 77: 30.0}) == [2], "neither renewed nor known"
        assert "attempt 1 (epoch 1 of job 7) is ended: a newer attempt of its job was started here" in caplog.text
        (failed,) = await ends(agent, 1)
        assert (failed.attempt_id, failed.epoch, failed.kind) == (1, 1, "failed")
        agent.acknowledge(failed.seq)
        with pytest.raises(InfrastructureError, match="epoch 2 was here"):
            agent.start(stale)
        assert "refused: Attempt 1 (epoch 1 of job 7) is superseded" in caplog.text
        assert agent.reconcile({2: 30.0}) == [2]
        await agent.close()

        later = Agent(settings(tmp_path, 2))  # which adopts attempt 2, and knows from that
        with pytest.raises(InfrastructureError, match="epoch 2 was here"):
            later.start(stale)
        assert (await ends(later, 1, failed.seq))[0].kind == "measured"
        await later.close()

    asyncio.run(scene())
