"""Emulators: started, booted, reset and ended, with a stand-in for the SDK's program."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest

from agents.android import avds, emulator
from agents.android.emulator import Emulators, Running, find_sdk
from agents.android.phone import Output
from farm.config import Avd
from farm.errors import ConfigError, DeviceError, DeviceTimeout, InfrastructureError, LinkLost

PROGRAM = Path(__file__).with_name("emulator_program.py")


class BootingPhone:
    serial = "emulator"

    def __init__(self, after: int) -> None:
        self.asked, self._after = 0, after

    async def shell(self, command: str, *, timeout_seconds: float = 10.0) -> Output:
        assert command == "getprop sys.boot_completed"
        self.asked += 1
        if self.asked == 1:
            raise LinkLost("device offline", remedy="")
        return Output("1\n" if self.asked > self._after else "\n", "", 0, 0.0)


class Sdk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        program = folder / "sdk" / "emulator" / "emulator"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {PROGRAM} "$@"\n')
        program.chmod(0o755)
        self.kvm = folder / "kvm"
        self.kvm.touch()

    def emulators(self) -> Emulators:
        """Anew each time, as after a restart of the agent."""
        sdk = find_sdk({"ANDROID_HOME": str(self.folder / "sdk")})
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"]}
        return Emulators(sdk, self.folder / "state", 6037, self.home, self.kvm, environment)

    def said(self) -> str:
        return (self.home / "said.txt").read_text()


@pytest.fixture
def sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sdk:
    monkeypatch.setattr(emulator, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(emulator, "_END_SECONDS", 2.0)
    return Sdk(tmp_path)


async def listening(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


def alive(found: Running) -> bool:
    return psutil.pid_exists(found.pid) and psutil.Process(found.pid).status() != psutil.STATUS_ZOMBIE


def test_an_emulator_is_started_once_booted_restored_and_ended(sdk: Sdk) -> None:
    async def course() -> Running:
        emulators, avd = sdk.emulators(), Avd(name="pixel", snapshot="clean")
        found = await emulators.start(avd)
        try:
            assert await emulators.start(avd) == found
            assert found.serial == f"emulator-{found.console_port}"
            phone = BootingPhone(after=3)
            await emulators.wait_until_booted(found, phone)  # type: ignore[arg-type]
            assert phone.asked == 4
            await listening(found.console_port)
            await emulators.restore(found, avd)
            assert (sdk.home / "restored.txt").read_text() == "pixel"
            with pytest.raises(DeviceError, match="Failed to load snapshot"):
                await emulators.restore(found, Avd(name="pixel", snapshot="other"))
            assert alive(found)
        finally:
            await emulators.stop_all()
        assert emulators.running("pixel") is None
        return found

    found = asyncio.run(course())
    assert not alive(found)
    assert len(sdk.said().splitlines()) == 1
    for word in ("-no-window", "-snapshot clean", "-no-snapshot-save", "adb=6037", f"-port {found.console_port}"):
        assert word in sdk.said()


def test_without_a_snapshot_it_starts_wiped_and_is_ended_after_a_run(sdk: Sdk) -> None:
    async def course() -> None:
        emulators, avd = sdk.emulators(), Avd(name="pixel")
        found = await emulators.start(avd)
        await listening(found.console_port)
        await emulators.restore(found, avd)
        assert not alive(found)

    asyncio.run(course())
    assert "-wipe-data" in sdk.said()


@pytest.mark.parametrize("name", ["pixel", "deaf"])
def test_one_that_a_crashed_agent_left_is_found_and_ended(sdk: Sdk, name: str) -> None:
    async def crash() -> Running:
        return await sdk.emulators().start(Avd(name=name))

    found = asyncio.run(crash())
    assert alive(found)

    async def next_agent() -> None:
        emulators = sdk.emulators()
        assert emulators.running(name) == found
        await emulators.stop_all()

    asyncio.run(next_agent())
    assert not alive(found)


def test_a_later_process_with_the_same_number_is_left_alone(sdk: Sdk) -> None:
    folder = sdk.folder / "state" / "emulators"
    folder.mkdir(parents=True)
    us = {"avd": "pixel", "pid": os.getpid(), "started_at_seconds": time.time() - 1e6, "console_port": 5554}
    (folder / "pixel.json").write_text(json.dumps(us))
    emulators = sdk.emulators()
    assert emulators.running("pixel") is None
    asyncio.run(emulators.stop_all())  # we are still here
    assert not list(folder.glob("*.json"))


def test_what_keeps_it_from_booting_is_told(sdk: Sdk) -> None:
    async def course() -> None:
        emulators = sdk.emulators()
        found = await emulators.start(Avd(name="broken"))
        with pytest.raises(InfrastructureError, match="requires hardware acceleration"):
            await emulators.wait_until_booted(found, BootingPhone(after=10**9))  # type: ignore[arg-type]
        slow = await emulators.start(Avd(name="slow"))
        try:
            with pytest.raises(DeviceTimeout, match="has not booted"):
                await emulators.wait_until_booted(slow, BootingPhone(after=10**9), 0.3)  # type: ignore[arg-type]
            os.kill(slow.pid, signal.SIGKILL)
            with pytest.raises(InfrastructureError, match="has ended"):
                await emulators.wait_until_booted(slow, BootingPhone(after=10**9), 20)  # type: ignore[arg-type]
        finally:
            await emulators.stop_all()

    asyncio.run(course())


def test_several_get_ports_of_their_own_and_taken_ones_are_passed_over(sdk: Sdk) -> None:
    async def course() -> None:
        emulators = sdk.emulators()
        first = await emulators.start(Avd(name="pixel"))
        second = await emulators.start(Avd(name="slow"))
        try:
            assert second.console_port > first.console_port
            assert second.console_port % 2 == 0
        finally:
            await emulators.stop_all()
        assert not alive(first)
        assert not alive(second)

    asyncio.run(course())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InfrastructureError, match="No pair of ports"):
            emulator._free_port([port])


def test_what_is_missing_is_named_with_what_to_do(sdk: Sdk, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ANDROID_HOME is not set") as caught:
        find_sdk({"PATH": str(tmp_path)})
    assert "sdkmanager" in caught.value.remedy
    with pytest.raises(ConfigError, match="holds no emulator"):
        find_sdk({"ANDROID_SDK_ROOT": str(tmp_path), "PATH": ""})
    with pytest.raises(ConfigError, match="There is no AVD other; there are pixel, slow"):
        asyncio.run(sdk.emulators().start(Avd(name="other")))
    sdk.kvm.unlink()
    with pytest.raises(ConfigError, match="is missing") as caught:
        asyncio.run(sdk.emulators().start(Avd(name="pixel")))
    assert "kvm" in caught.value.remedy


def test_added_emulators_are_kept(tmp_path: Path) -> None:
    assert avds.declared(tmp_path) == ()
    avds.add(tmp_path, Avd(name="a"))
    avds.add(tmp_path, Avd(name="b"))
    avds.add(tmp_path, Avd(name="a", snapshot="clean"))
    assert avds.declared(tmp_path) == (Avd(name="b"), Avd(name="a", snapshot="clean"))
    assert avds.declared(tmp_path, (Avd(name="a"),)) == (Avd(name="b"), Avd(name="a"))
    (tmp_path / "avds.json").write_text("[{")
    with pytest.raises(ConfigError, match="cannot be read"):
        avds.declared(tmp_path)
