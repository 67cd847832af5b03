"""The agent with a virtual phone: jobs, and everything that can happen to a cable meanwhile.

Where it is the way that is tested, a shell script stands in for Python; one test runs the real harness where a phone
runtime was built on this machine.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from agents.phone_runtime import bundle as bundles
from farm.config import default_toolchains_dir
from farm.types import AgentEvent, Protocol, Scenario
from tests.integration.agents.android.scene import PROTOCOL, Scene, adb_program, connect, scene, until

pytestmark = pytest.mark.skipif(adb_program() is None, reason="needs an adb program")
SETTINGS = ("settings", "get", "global", "stay_on_while_plugged_in")


async def clean(it: Scene) -> None:
    """Nothing of ours runs or lies on the phone, and its settings are its owner's."""
    for _ in range(100):
        if await it.left_behind() == ([], []):
            break
        await asyncio.sleep(0.1)
    assert await it.left_behind() == ([], [])
    assert await it.on_phone(*SETTINGS) == "null"


def measured(event: AgentEvent) -> AgentEvent:
    assert event.kind == "measured", event.failure
    return event


def test_a_phone_appears_measures_and_is_left_as_it_was(tmp_path: Path) -> None:
    async def play() -> None:
        async with scene(tmp_path) as it:
            device = await it.device()
            assert device.id == it.phone.serial
            assert (device.facts.platform, device.facts.soc, device.facts.virtual) == ("android", "SM8550", True)
            assert device.facts.runtimes == ("onnxruntime",)
            assert device.readings is not None and device.readings.battery_ratio is not None
            assert "ran arithmetic" in (await it.agent.check(device.id, "check")).detail
            it.agent.start(it.lease(1))
            began = await it.event()
            assert began.kind == "started"
            assert await it.on_phone(*SETTINGS) == "7"
            assert it.agent.reconcile({1: 60.0}) == [1]
            first = measured(await it.event())
            assert first.measurement is not None
            assert first.measurement.latency_samples_seconds == (0.1, 0.1)
            assert first.measurement.telemetry.temperature_start_celsius is not None
            assert first.measurement.telemetry.powered is False
            await clean(it)
            requests = it.server.requests, it.driver._servers[0].requests
            it.agent.start(it.lease(2))
            measured(await it.end())
            assert it.driver._servers[0].requests - requests[1] <= 6, "what is there already is not sent again"
            await clean(it)

    asyncio.run(play())


def test_a_cable_that_is_pulled_costs_nothing_but_time(tmp_path: Path) -> None:
    async def play() -> None:
        async with scene(tmp_path) as it:
            await it.device()
            it.agent.start(it.lease(1, seconds=4))
            assert (await it.event()).kind == "started"
            it.phone.faults.unplug = True
            await until(lambda: not it.devices or it.devices[0].blocked)
            await asyncio.sleep(2)
            it.phone.faults.unplug = False
            measured(await it.event())
            await clean(it)

    asyncio.run(play())


@pytest.mark.parametrize("fault", ["unplug", "offline"])
def test_a_phone_that_stays_away_is_the_links_fault_and_is_tidied_when_it_is_back(tmp_path: Path, fault: str) -> None:
    async def play() -> None:
        async with scene(tmp_path) as it:
            await it.device()
            short = PROTOCOL.model_copy(update={"timeout_seconds": 3.0, "idle_seconds": 0.0})
            it.agent.start(it.lease(1, seconds=50, protocol=short))
            assert (await it.event()).kind == "started"
            setattr(it.phone.faults, fault, True)
            failure = (await it.event()).failure
            assert failure is not None and failure.fault == "infrastructure", failure
            assert failure.code == "link-lost"
            setattr(it.phone.faults, fault, False)
            await it.device()
            await clean(it)
            it.agent.start(it.lease(2))
            measured(await it.end())

    asyncio.run(play())


def test_an_agent_that_is_started_again_collects_what_went_on(tmp_path: Path) -> None:
    async def play() -> None:
        async with scene(tmp_path) as it:
            await it.device()
            it.agent.start(it.lease(1, seconds=3))
            assert (await it.event()).kind == "started"
            await it.restart_agent()
            assert it.agent.reconcile({1: 60.0}) == [1]
            measured(await it.event())
            await clean(it)

    asyncio.run(play())


def test_what_no_agent_knows_of_is_ended(tmp_path: Path) -> None:
    async def play() -> None:
        async with scene(tmp_path) as it:
            await it.device()
            it.agent.start(it.lease(1, seconds=60))
            assert (await it.event()).kind == "started"
            await it.agent.close()
            folder = it.settings.state_dir / "agents" / "bench"
            for name in ("journal.db", "journal.db-wal", "journal.db-shm"):  # it lost its memory, but for the phone's
                (folder / name).unlink(missing_ok=True)
            assert (await it.left_behind())[1]
            await it.restart_agent()
            await it.device()
            await clean(it)

    asyncio.run(play())


@pytest.mark.parametrize("when_seconds", [0.0, 0.2, 0.5, 1.0, 2.0])
def test_a_lease_that_is_withdrawn_at_any_time_leaves_nothing(tmp_path: Path, when_seconds: float) -> None:
    async def play() -> None:
        async with scene(tmp_path) as it:
            await it.device()
            it.phone.faults.slow_link_bytes_per_second = 20_000
            it.agent.start(it.lease(1, seconds=60))
            await asyncio.sleep(when_seconds)
            it.agent.reconcile({})
            it.phone.faults.slow_link_bytes_per_second = None
            event = await it.event()
            event = await it.event() if event.kind == "started" else event
            assert event.failure is not None and event.failure.code == "interrupted"
            it.agent.start(it.lease(2))
            measured(await it.end())
            await clean(it)

    asyncio.run(play())


def test_a_time_out_ends_the_harness_and_a_crash_is_told(tmp_path: Path) -> None:
    async def play() -> None:
        async with scene(tmp_path) as it:
            await it.device()
            short = PROTOCOL.model_copy(update={"timeout_seconds": 2.5, "idle_seconds": 0.0})
            it.agent.start(it.lease(1, seconds=50, protocol=short))
            late = (await it.end()).failure
            assert late is not None and "killed after 2.5 s" in late.message
            assert "phase" not in late.message
            it.agent.start(it.lease(2, options={"seconds": 0, "crash": True}))
            crashed = (await it.end()).failure
            assert crashed is not None and crashed.fault == "device" and "SIGSEGV" in crashed.message
            await clean(it)

    asyncio.run(play())


def test_what_is_wrong_with_a_phone_is_shown(tmp_path: Path) -> None:
    async def play() -> None:
        async with scene(tmp_path) as it:
            facts = (await it.device()).facts
            it.phone.faults.unauthorized = True
            it.phone.faults.unplug = True
            it.phone.faults.unplug = False
            await connect(it.server, it.phone)
            await until(lambda: it.devices and "unauthorized" in it.devices[0].blocked)
            (shown,) = it.devices
            assert shown.id == it.phone.serial and shown.facts == facts, "it is known from before"
            assert "on its screen" in shown.blocked
            it.phone.faults.unauthorized = False
            await it.server.disconnect(f"127.0.0.1:{it.phone.port}")
            await until(lambda: not it.devices)
            await connect(it.server, it.phone)
            await it.device()
            it.phone.faults.ambient_celsius = 60.0

    asyncio.run(play())


def test_a_phone_without_a_runtime_names_what_makes_one(tmp_path: Path) -> None:
    async def play() -> None:
        (tmp_path / "none").mkdir()
        async with scene(tmp_path, runtime_folder=tmp_path / "none") as it:
            await until(lambda: it.devices)
            (shown,) = it.devices
            assert shown.facts.runtimes == ()
            assert "farm phone-runtime build --abi x86_64" in shown.blocked

    asyncio.run(play())


def test_full_storage_and_cores_that_are_not_there_are_told(tmp_path: Path) -> None:
    async def play() -> None:
        async with scene(tmp_path) as it:
            await it.device()
            it.agent.start(it.lease(1, scenario=Scenario(threads=8, cores="big")))
            refused = (await it.end()).failure
            assert refused is not None and refused.fault == "recipe" and "big cores" in refused.message
            it.phone.faults.full_storage = True
            it.agent.start(it.lease(2))
            full = (await it.end()).failure
            assert full is not None and full.fault == "device", full
            assert "0 MiB free" in full.message and "Free storage" in full.remedy
            it.phone.faults.full_storage = False
            it.agent.start(it.lease(3))
            measured(await it.end())
            await clean(it)

    asyncio.run(play())


def test_it_is_rebooted_and_reconnected(tmp_path: Path) -> None:
    async def play() -> None:
        async with scene(tmp_path) as it:
            device = await it.device()
            for step in ("reconnect", "reboot"):
                check = await it.agent.check(device.id, step)  # type: ignore[arg-type]
                assert check.passed, check.detail
                await it.device()

    asyncio.run(play())


@pytest.mark.real_models
@pytest.mark.skipif(
    bundles.find(default_toolchains_dir().with_name("phone-runtime"), "x86_64") is None,
    reason="`farm phone-runtime build --abi x86_64 --with onnxruntime` makes what it needs",
)
def test_the_real_harness_measures_on_the_phone(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs the onnxruntime extra")
    from tests.integration.agents.test_agent import Bench

    bench = Bench(tmp_path)

    async def play() -> None:
        async with scene(tmp_path, runtime_folder=default_toolchains_dir().with_name("phone-runtime")) as it:
            await it.device()
            given = bench.lease(1, Protocol(min_warmup_seconds=0.01, min_samples=20, max_seconds=1, idle_seconds=0))
            it.agent.start(given.model_copy(update={"device_id": it.phone.serial}))
            event = measured(await it.end(60))
            assert event.measurement is not None and event.measurement.parity is not None
            assert event.measurement.parity.max_abs_error < 1e-4
            assert np.isfinite(event.measurement.latency_samples_seconds).all()
            assert json.loads(event.measurement.model_dump_json())["cpus_asked"]

    asyncio.run(play())
