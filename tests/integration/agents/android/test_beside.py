"""A power meter beside a virtual phone, through the whole agent: its energy, or why there is none."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from agents.meters import catalogue, external
from agents.virtual.phone import VirtualPhone
from farm.analysis.energy import Energy, energy
from farm.config import PowerMeterSetting
from farm.errors import DeviceError
from farm.types import Measurement, PowerSeries
from tests.integration.agents.android.scene import PROTOCOL, Scene, adb_program, scene

pytestmark = pytest.mark.skipif(adb_program() is None, reason="needs an adb program")
IDLE_WATTS, BUSY_WATTS = 0.8, 2.4
PERIOD_SECONDS = 0.001
RESTING = PROTOCOL.model_copy(update={"idle_seconds": 6.0, "timeout_seconds": 60.0})


class Meter:
    """Of this machine's clock, as a meter's. It shows more from the warm-up to the end of the measured phase, as the
    phone wrote them down by its own. ``attempts``: the folders of the agent."""

    name = "Acme meter"

    def __init__(self, attempts: Path) -> None:
        self.attempts = attempts
        self.started_seconds: float | None = None
        self.lost = False

    def start(self) -> None:
        assert self.started_seconds is None, "two recordings at a time"
        self.started_seconds = time.monotonic()

    def stop(self) -> PowerSeries:
        assert self.started_seconds is not None
        start_seconds, self.started_seconds = self.started_seconds, None
        if self.lost:
            raise DeviceError("Acme meter lost readings: 7 dropped.", remedy="")
        lines = (self.attempts / "1" / "records.jsonl").read_text().splitlines()
        found = {record["kind"]: record["monotonic_seconds"] for record in map(json.loads, lines)}
        up_seconds = float(Path("/proc/uptime").read_text().split()[0]) - time.monotonic()
        busy = found["warmup"] - up_seconds, found["stop"] - up_seconds
        noise = random.Random(3)  # noqa: S311
        count = int((time.monotonic() - start_seconds) / PERIOD_SECONDS)
        times = [start_seconds + number * PERIOD_SECONDS for number in range(count)]
        watts = [BUSY_WATTS if busy[0] <= at < busy[1] else IDLE_WATTS for at in times]
        return external.series(self.name, start_seconds, PERIOD_SECONDS, [w + noise.gauss(0, 0.01) for w in watts])


def fed_by(it: Scene, monkeypatch: pytest.MonkeyPatch) -> Meter:
    meter = Meter(it.settings.state_dir / "agents" / "bench" / "attempts")
    monkeypatch.setattr(catalogue, "open_meter", lambda _: meter)
    return meter


async def measured(it: Scene) -> Measurement:
    event = await it.end(60)
    assert event.measurement is not None, event.failure
    return event.measurement


def settings(serial: str) -> dict[str, Any]:
    return {"agent_power_meters": {serial: PowerMeterSetting(kind="acme")}}


def serial_of(folder: Path) -> str:
    return VirtualPhone("galaxy-s23", "x86_64", folder / "phone").serial


def test_its_energy_is_told_by_the_meter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        async with scene(tmp_path, **settings(serial_of(tmp_path))) as it:
            meter = fed_by(it, monkeypatch)
            await it.device()
            it.agent.start(it.lease(1, seconds=8, protocol=RESTING))
            found = await measured(it)
            assert "energy" not in found.absent
            assert found.power is not None
            assert found.power.series.method == "external" and found.power.series.source == "Acme meter"
            assert 0 < found.power.clock_uncertainty_seconds < 0.2
            told = energy(found.power, 1, 0.95)
            assert isinstance(told, Energy), told
            joules = (BUSY_WATTS - IDLE_WATTS) * found.power.measured.seconds
            assert told.joules.value == pytest.approx(joules, rel=0.03)
            assert told.joules.low < joules < told.joules.high
            assert meter.started_seconds is None

    asyncio.run(play())


def test_a_meter_that_loses_readings_costs_the_energy_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        async with scene(tmp_path, **settings(serial_of(tmp_path))) as it:
            fed_by(it, monkeypatch).lost = True
            await it.device()
            it.agent.start(it.lease(1, protocol=RESTING))
            found = await measured(it)
            assert found.power is None
            assert found.absent["energy"] == "Acme meter lost readings: 7 dropped"

    asyncio.run(play())


def test_a_meter_that_is_not_there_costs_the_energy_and_no_rest(tmp_path: Path) -> None:
    async def play() -> None:
        async with scene(tmp_path, **settings(serial_of(tmp_path))) as it:
            await it.device()
            it.agent.start(it.lease(1, protocol=RESTING.model_copy(update={"idle_seconds": 50.0})))
            found = await measured(it)
            assert found.absent["energy"] == "There is no power meter of kind 'acme'"

    asyncio.run(play())


def test_a_recording_ends_with_its_attempt_and_with_its_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        async with scene(tmp_path, **settings(serial_of(tmp_path))) as it:
            meter = fed_by(it, monkeypatch)
            meter.lost = True  # what it would say is not asked for
            await it.device()
            it.agent.start(it.lease(1, seconds=60, protocol=RESTING))
            assert (await it.event()).kind == "started"
            it.agent.reconcile({})
            assert (await it.event()).failure is not None
            it.agent.start(it.lease(2, seconds=3, protocol=RESTING))
            assert (await it.event()).kind == "started"
            assert meter.started_seconds is not None
            await it.restart_agent()
            assert meter.started_seconds is None
            assert it.agent.reconcile({2: 60.0}) == [2]
            assert "the agent was restarted" in (await measured(it)).absent["energy"]

    asyncio.run(play())
