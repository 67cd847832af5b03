"""A phone's shell and files through a real adb server: whole answers, or the error that says what happened."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agents.android import files
from agents.android.adb import Slice
from agents.android.link import AdbPhone
from agents.virtual.phone import VirtualPhone
from farm.errors import DeviceError, DeviceTimeout, LinkLost, OutputCut
from tests.integration.agents.android.scene import adb_program, connect, linked

pytestmark = pytest.mark.skipif(adb_program() is None, reason="needs an adb program")
HERE = "/data/local/tmp"


def test_a_command_is_answered_whole_or_fails_with_what_happened(tmp_path: Path) -> None:
    async def scene() -> None:
        async with linked(tmp_path) as (phone, link):
            output = await link.shell("printf out; printf err >&2; exit 7")
            assert (output.stdout, output.stderr, output.exit_code) == ("out", "err", 7)
            assert (await link.shell("cat /nowhere")).exit_code == 1
            with pytest.raises(DeviceTimeout, match=r"took longer than 0\.5 s"):
                await link.shell("sleep 20", timeout_seconds=0.5)
            # The shell that would say the end is killed: what came until then is no answer.
            with pytest.raises((OutputCut, LinkLost)):
                await link.shell("echo half; kill -9 $PPID; sleep 5")
            running = asyncio.create_task(link.shell("echo half; sleep 20", timeout_seconds=15))
            await asyncio.sleep(0.5)
            phone.faults.unplug = True
            with pytest.raises(LinkLost):
                await running
            with pytest.raises(LinkLost):
                await link.shell("true")
            phone.faults.unplug = False
            await _back(link, phone)
            many = await asyncio.gather(*(link.shell(f"echo {number}") for number in range(20)))
            assert [output.stdout for output in many] == [f"{number}\n" for number in range(20)]
            left = await link.shell("ps -A -o ARGS | grep -c '[s]leep 20'")
            assert left.stdout.strip() == "0", "what was hung up on has ended"

    asyncio.run(scene())


async def _back(link: AdbPhone, phone: VirtualPhone) -> None:
    for _ in range(20):
        try:
            await link.shell("true")
            return
        except LinkLost:
            await asyncio.sleep(0.5)
            await connect(link.server, phone)  # once its server has noticed that it was gone
    raise AssertionError("it did not come back")


def test_files_arrive_whole_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    async def scene() -> None:
        async with linked(tmp_path) as (_, link):
            given = tmp_path / "given"
            given.write_bytes(os.urandom(3_000_000))
            await link.push(given, f"{HERE}/it's here", executable=True)
            assert (await link.shell(f'[ -x "{HERE}/it\'s here" ]')).exit_code == 0
            await link.pull(f"{HERE}/it's here", tmp_path / "back")
            assert (tmp_path / "back").read_bytes() == given.read_bytes()
            empty = tmp_path / "empty"
            empty.touch()
            await link.push(empty, f"{HERE}/empty")
            assert await link.read(f"{HERE}/empty", max_bytes=10) == b""
            for attempt in (link.pull(f"{HERE}/none", tmp_path / "none"), link.read(f"{HERE}/none", max_bytes=10)):
                with pytest.raises(DeviceError, match="cannot be read"):
                    await attempt
            assert not (tmp_path / "none").exists()
            with pytest.raises(DeviceError, match="larger than 10 bytes"):
                await link.read(f"{HERE}/it's here", max_bytes=10)
            with pytest.raises(DeviceError):
                await link.push(given, "/system/bin/given")

    asyncio.run(scene())


def test_a_push_that_was_cut_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PART_BYTES", 256 * 1024)
    given = tmp_path / "given"
    given.write_bytes(os.urandom(4_000_000))

    async def scene() -> None:
        async with linked(tmp_path) as (phone, link):
            phone.faults.slow_link_bytes_per_second = 2_000_000
            pushing = asyncio.create_task(link.push(given, f"{HERE}/given"))
            await asyncio.sleep(1.2)
            phone.faults.unplug = True
            with pytest.raises(LinkLost):
                await pushing
            phone.faults.slow_link_bytes_per_second = None
            phone.faults.unplug = False
            await _back(link, phone)
            there = await link.shell(f"cd {HERE}/given.*.parts && cat whole [0-9]* 2>/dev/null | wc -c")
            assert 2 <= int(there.stdout) // 262144 < 15, "some parts came through, not all"
            sent: list[int] = []
            send = link.server.send

            async def counted(serial: str, slices: list[Slice], arrived: Callable[[Slice], None]) -> None:
                sent.append(sum(part.length for part in slices))
                await send(serial, slices, arrived)

            monkeypatch.setattr(link.server, "send", counted)
            await link.push(given, f"{HERE}/given")
            assert sent == [4_000_000 - 262144 * (int(there.stdout) // 262144)]
            await link.pull(f"{HERE}/given", tmp_path / "back")
            assert (tmp_path / "back").read_bytes() == given.read_bytes()
            assert (await link.shell(f"ls -d {HERE}/given.*.parts")).exit_code != 0

    asyncio.run(scene())


def test_full_storage_and_garbled_files_are_told(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_bytes(os.urandom(500_000))

    async def scene() -> None:
        async with linked(tmp_path) as (phone, link):
            phone.faults.full_storage = True
            with pytest.raises(DeviceError) as full:
                await link.push(given, f"{HERE}/given")
            assert "space" in full.value.message.lower()
            phone.faults.full_storage = False
            await link.push(given, f"{HERE}/given")

    asyncio.run(scene())
