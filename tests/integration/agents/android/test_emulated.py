"""Emulators through the whole agent: a virtual phone in a stand-in for the SDK's program."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from agents.android import emulator, keeper
from agents.android.link import AdbPhone
from farm.config import Avd
from tests.integration.agents.android.scene import Scene, adb_program, adb_server, stand_in_bundle, until

pytestmark = pytest.mark.skipif(adb_program() is None, reason="needs an adb program")
PROGRAM = Path(__file__).with_name("emulator_phone.py")
ROOT = Path(__file__).parents[4]
ID = "bench-pixel"


class Emulated(Scene):
    """Without a phone that is plugged in."""

    device_id = ID

    @property
    def told(self) -> list[str]:
        path = self.folder / "told.txt"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def pid(self) -> int:
        written = self.settings.state_dir / "agents" / "bench" / "emulators" / "pixel.json"
        return int(json.loads(written.read_text())["pid"])

    async def booted(self) -> None:
        await until(lambda: [device.id for device in self.devices if not device.blocked] == [ID], 40)


@pytest.fixture(autouse=True)
def sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "sdk" / "emulator" / "emulator"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {PROGRAM} "$@"\n')
    program.chmod(0o755)
    (tmp_path / "kvm").touch()
    monkeypatch.setattr(emulator, "_KVM", tmp_path / "kvm")
    # Past those that every adb server of this machine looks at by itself: other tests' agents would tidy up here.
    monkeypatch.setattr(emulator, "_PORTS", range(5590, 5682, 2))
    monkeypatch.setattr(keeper, "_RETRY_SECONDS", 0.2)
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path / "sdk"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("STAND_IN_FOLDER", str(tmp_path))


@asynccontextmanager
async def emulated(folder: Path, snapshot: str | None = "clean") -> AsyncIterator[Emulated]:
    (folder / "runtime").mkdir()
    stand_in_bundle(folder / "runtime")
    async with adb_server(folder) as server:
        avds = (Avd(name="pixel", snapshot=snapshot),)
        made = Emulated(folder, None, server, folder / "runtime", agent_avds=avds)  # type: ignore[arg-type]
        made.agent.info()
        try:
            yield made
        finally:
            await made.agent.close()


def test_one_is_started_measures_is_put_back_and_ends_with_the_agent(tmp_path: Path) -> None:
    async def play() -> int:
        async with emulated(tmp_path) as it:
            assert [(device.id, device.blocked) for device in it.devices] == [(ID, "the emulator pixel is starting")]
            await it.booted()
            (device,) = it.devices
            assert device.facts.emulator and device.facts.virtual
            pid = it.pid
            it.agent.start(it.lease(1))
            event = await it.end()
            assert event.measurement is not None, event.failure
            assert event.measurement.power is None
            assert "not measurable" in event.measurement.absent["energy"]
            assert it.told[-1] == "avd snapshot load clean"
            await it.booted()
            port = it.told[0].split("-port ")[1].split()[0]
            seen = await AdbPhone(it.server, f"emulator-{port}").shell("ls /data/local/tmp")
            assert seen.stdout == "", "nothing of the attempt is left"
            it.agent.start(it.lease(2))
            assert (await it.end()).measurement is not None
            assert it.pid == pid
            return pid

    pid = asyncio.run(play())
    assert not psutil.pid_exists(pid)


def test_without_a_snapshot_each_run_starts_cold(tmp_path: Path) -> None:
    async def play() -> None:
        async with emulated(tmp_path, snapshot=None) as it:
            await it.booted()
            pid = it.pid
            it.agent.start(it.lease(1))
            event = await it.end()
            assert event.measurement is not None, event.failure
            await until(lambda: len([line for line in it.told if "-wipe-data" in line]) == 2)
            await it.booted()
            assert it.pid != pid and not psutil.pid_exists(pid)

    asyncio.run(play())


def test_one_that_dies_is_started_again(tmp_path: Path) -> None:
    async def play() -> None:
        async with emulated(tmp_path) as it:
            await it.booted()
            os.killpg(it.pid, signal.SIGKILL)
            await until(lambda: it.devices[0].blocked)
            await it.booted()

    asyncio.run(play())


def test_one_that_a_crashed_agent_left_is_ended_at_the_next_start(tmp_path: Path) -> None:
    async def play() -> None:
        async with emulated(tmp_path) as it:
            await it.booted()
            left = it.pid
            keep = it.driver._keeper
            assert keep._task and keep._emulators
            keep._task.cancel()
            process = keep._emulators._processes["pixel"]
            keep._emulators = None  # as after a crash: nobody ends it
            await it.restart_agent()
            assert psutil.pid_exists(left) and psutil.Process(left).status() != psutil.STATUS_ZOMBIE
            it.agent.info()
            await until(lambda: len([line for line in it.told if line.startswith("start")]) == 2)
            await it.booted()
            assert it.pid != left
            assert await process.wait() is not None

    asyncio.run(play())


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator, "_KVM", tmp_path / "no-kvm")

    async def play() -> None:
        async with emulated(tmp_path) as it:
            await until(lambda: "no-kvm, which is missing" in it.devices[0].blocked)
            monkeypatch.delenv("ANDROID_HOME")
            monkeypatch.setenv("PATH", os.defpath)
            await it.restart_agent()
            await until(lambda: "ANDROID_HOME is not set" in it.devices[0].blocked)

    asyncio.run(play())
