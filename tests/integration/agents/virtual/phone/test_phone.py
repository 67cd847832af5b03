"""A virtual phone as a whole: its shell, its walls, its heat and its end."""

from __future__ import annotations

import asyncio
import errno
import shutil
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from agents.virtual.phone import VirtualPhone, control
from agents.virtual.phone.profile import load_profile
from farm.errors import InfrastructureError, UserError

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("busybox") is None, reason="needs Linux and busybox-static"
)
LOOP = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done"


@asynccontextmanager
async def phone(folder: Path, profile: str = "galaxy-s23", abi: str = "x86_64") -> AsyncIterator[VirtualPhone]:
    made = VirtualPhone(profile, abi, folder)  # type: ignore[arg-type]
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def with_phone(folder: Path, work: Callable[[VirtualPhone], Awaitable[None]], **options: str) -> None:
    async def run() -> None:
        async with phone(folder, **options) as made:
            await work(made)

    asyncio.run(run())


async def shell(made: VirtualPhone, command: str) -> tuple[int, str, str]:
    async with asyncio.timeout(30):
        running = await made.machine.spawn(command, terminal=False, merged=False)
        assert running.stdin is not None
        assert running.stderr is not None
        running.stdin.close()
        out, error = await asyncio.gather(running.stdout.read(), running.stderr.read())
        return await running.wait(), out.decode(), error.decode()


def test_a_shell_has_the_phones_face_and_not_the_hosts(tmp_path: Path) -> None:
    async def work(made: VirtualPhone) -> None:
        code, out, error = await shell(
            made, "id -u; getprop ro.torchfarm.virtual; ls /; getconf PAGE_SIZE; echo x >&2; exit 7"
        )
        assert (code, error) == (7, "x\n")
        assert out.splitlines()[:2] == ["2000", "1"]
        assert not {"home", "lib", "lib64", "usr", "root", "var"} & set(out.split())
        assert out.splitlines()[-1] in ("4096", "16384", "65536")
        assert (await shell(made, "cat /proc/version"))[1].startswith(f"Linux version {made.profile.kernel}")
        assert (await shell(made, "dumpsys battery | grep level"))[1] == "  level: 80\n"
        cores = sum(cluster.cores for cluster in made.profile.clusters)
        assert (await shell(made, "nproc; grep -c ^processor /proc/cpuinfo"))[1].split() == [str(cores)] * 2

    with_phone(tmp_path, work)


def test_what_is_not_the_shells_is_refused_as_android_refuses_it(tmp_path: Path) -> None:
    async def work(made: VirtualPhone) -> None:
        for command, words in (
            ("cat /sys/class/power_supply/battery/current_now", "Permission denied"),
            ("ls /data", "Permission denied"),
            ("echo x > /data/x", "Permission denied"),
            ("echo x > /system/x", "Read-only file system"),
            ("mount -t tmpfs none /data/local/tmp", "ermi"),
            ("umount /data", "not permitted"),
            ("cmd nothing", "cmd: Can't find service: nothing"),
        ):
            code, out, error = await shell(made, command)
            assert code != 0, command
            assert out == ""
            assert words in error

    with_phone(tmp_path, work)


def test_the_gauge_is_readable_where_the_vendor_lets_it(tmp_path: Path) -> None:
    async def work(made: VirtualPhone) -> None:
        code, out, _ = await shell(made, "cat /sys/class/power_supply/battery/current_now")
        assert code == 0
        assert int(out) < -10_000

    with_phone(tmp_path, work, profile="pixel-11-pro")


def test_links_never_lead_out_of_the_phone(tmp_path: Path) -> None:
    async def work(made: VirtualPhone) -> None:
        await shell(
            made,
            "cd /data/local/tmp; ln -s /etc/passwd out; ln -s ../../../../../../etc up; ln -s a b; ln -s b a; "
            "echo in > x; ln -s /sdcard/x in",
        )
        resolve = made.machine.resolve
        assert not resolve("/data/local/tmp/out").exists()
        assert not resolve("/data/local/tmp/up/hostname").exists()
        assert resolve("/data/local/tmp/in").read_text() == "in\n"
        assert resolve("/data/local/tmp/in", follow=False).is_symlink()
        with pytest.raises(OSError) as loop:
            resolve("/data/local/tmp/a")
        assert loop.value.errno == errno.ELOOP
        for path, number in (("/system/x", errno.EROFS), ("/data/x", errno.EACCES)):
            with pytest.raises(OSError) as refused:
                made.machine.check_write(path)
            assert refused.value.errno == number
        made.machine.check_write("/data/local/tmp/new")
        made.machine.check_write("/data/local/tmp/folder/and/file")
        with pytest.raises(PermissionError):
            made.machine.check_read("/sys/class/power_supply/battery/temp")

    with_phone(tmp_path, work)


def test_full_storage_is_real_and_ends(tmp_path: Path) -> None:
    async def work(made: VirtualPhone) -> None:
        made.faults.full_storage = True
        await asyncio.sleep(0.2)
        code, _, error = await shell(made, "echo x > /data/local/tmp/x")
        assert code != 0
        assert "No space left on device" in error
        assert made.machine.free_bytes() == 0
        assert " 100% " in (await shell(made, "df /data"))[1]
        made.faults.full_storage = False
        await asyncio.sleep(0.2)
        assert (await shell(made, "echo x > /data/local/tmp/x"))[0] == 0

    with_phone(tmp_path, work)


def test_heat_slows_what_runs_and_shows(tmp_path: Path) -> None:
    async def work(made: VirtualPhone) -> None:
        world = made.world
        assert world is not None
        await shell(made, LOOP)
        began = time.monotonic()
        await shell(made, LOOP)
        cool_seconds = time.monotonic() - began
        made.faults.ambient_celsius = 60
        world.state = replace(world.state, skin_celsius=60.0)
        await asyncio.sleep(1)
        began = time.monotonic()
        await shell(made, LOOP)
        hot_seconds = time.monotonic() - began
        assert hot_seconds > 1.7 * cool_seconds
        _, most, _ = await shell(made, "cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_max_freq")
        assert sorted(set(map(int, most.split()))) == sorted({c.steps_khz[0] for c in made.profile.clusters})
        report = (await shell(made, "dumpsys thermalservice"))[1]
        assert "Thermal Status: 6" in report

    with_phone(tmp_path, work)


def test_work_draws_current_and_a_lie_of_the_gauge_shows_in_it(tmp_path: Path) -> None:
    async def work(made: VirtualPhone) -> None:
        async def current() -> int:
            return int((await shell(made, "cat /sys/class/power_supply/battery/current_now"))[1])

        await asyncio.sleep(0.6)
        idle = await current()
        running = await made.machine.spawn(f"while true; do {LOOP}; done", terminal=False, merged=True)
        async with asyncio.timeout(20):  # other work of this machine leaves the loop less of it
            while not await current() < idle - 5000 < 0:  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.2)
        made.faults.lying_gauge = "sign"
        await asyncio.sleep(0.6)
        assert await current() > 0
        running.kill()
        assert await running.wait() > 128
        made.faults.clear()
        made.faults.charging = True
        await asyncio.sleep(1.2)
        assert await current() > 0
        assert "status: 2" in (await shell(made, "dumpsys battery"))[1]

    with_phone(tmp_path, work, profile="pixel-11-pro")


def test_a_killed_shell_takes_its_children_but_no_session_of_their_own(tmp_path: Path) -> None:
    async def work(made: VirtualPhone) -> None:
        running = await made.machine.spawn(
            "sleep 71 & setsid nohup sleep 72 > /dev/null 2>&1 & sleep 73", terminal=False, merged=True
        )
        await asyncio.sleep(0.3)
        running.kill()
        assert await running.wait() == 129
        await asyncio.sleep(0.4)
        _, out, _ = await shell(made, "ps -o args")
        assert "sleep 72" in out
        assert "sleep 71" not in out
        assert "sleep 73" not in out

    with_phone(tmp_path, work)


def test_a_terminal_is_the_phones_own(tmp_path: Path) -> None:
    async def work(made: VirtualPhone) -> None:
        async with asyncio.timeout(10):
            running = await made.machine.spawn(None, terminal=True, merged=True)
            running.resize(40, 100)
            assert running.stdin is not None
            running.stdin.write(b"tty; stty size; exit 3\n")
            out = await running.stdout.read()
            assert b"/dev/pts/0" in out
            assert b"40 100" in out
            assert await running.wait() == 3

    with_phone(tmp_path, work)


def test_nothing_is_left_when_a_phone_ends(tmp_path: Path) -> None:
    async def work(made: VirtualPhone) -> None:
        await shell(made, "setsid nohup sleep 4711 > /dev/null 2>&1 &")

    before = {process.pid for process in psutil.process_iter()}
    began = time.monotonic()
    with_phone(tmp_path / "folder", work)
    assert time.monotonic() - began < 5
    left = [p for p in psutil.process_iter(["pid", "cmdline"]) if p.pid not in before]
    assert not [p for p in left if "4711" in (p.info["cmdline"] or []) or str(tmp_path) in str(p.info["cmdline"])]
    assert {path.name for path in (tmp_path / "folder").iterdir()} <= {"adb_keys"}


def test_a_killed_process_1_is_told_to_all_who_wait(tmp_path: Path) -> None:
    async def work(made: VirtualPhone) -> None:
        running = await made.machine.spawn("sleep 100", terminal=False, merged=True)
        init = next(
            p for p in psutil.Process().children(recursive=True) if "init.py" in " ".join(p.cmdline()) and p.children()
        )
        for child in init.children():
            child.kill()
        async with asyncio.timeout(5):
            assert await running.wait() == 137
            with pytest.raises(InfrastructureError, match="off"):
                while True:
                    await made.machine.spawn("true", terminal=False, merged=True)

    with_phone(tmp_path, work)


def test_faults_are_switched_from_outside(tmp_path: Path) -> None:
    async def work(made: VirtualPhone) -> None:
        faults = await asyncio.to_thread(control.order, tmp_path, {"fault": "ambient_celsius", "value": 41})
        assert faults["ambient_celsius"] == 41
        assert made.faults.ambient_celsius == 41
        with pytest.raises(UserError, match="no fault 'nonsense'"):
            await asyncio.to_thread(control.order, tmp_path, {"fault": "nonsense"})
        await asyncio.to_thread(control.order, tmp_path, {"clear": True})
        assert made.faults.ambient_celsius is None

    with_phone(tmp_path, work)
    with pytest.raises(InfrastructureError, match="No virtual phone answers"):
        control.order(tmp_path, {})


@pytest.mark.skipif(shutil.which("qemu-aarch64-static") is None, reason="needs qemu-user-static")
def test_an_arm64_phone_runs_arm64_programs_by_themselves(tmp_path: Path) -> None:
    # exit(42) for Linux on AArch64: mov x0, 42; mov x8, 93; svc 0
    code = bytes.fromhex("400580d2a80b80d2010000d4")
    header = bytes.fromhex(
        "7f454c4602010100000000000000000002 00b700 01000000 7800400000000000 4000000000000000 0000000000000000"
        "00000000 4000 3800 0100 0000 0000 0000"
        "01000000 05000000 0000000000000000 0000400000000000 0000400000000000"
        "8400000000000000 8400000000000000 0000010000000000".replace(" ", "")
    )

    async def work(made: VirtualPhone) -> None:
        assert (await shell(made, "uname -m; getprop ro.product.cpu.abi"))[1] == "aarch64\narm64-v8a\n"
        made.machine.resolve("/data/local/tmp/program").write_bytes(header + code)
        script = "cd /data/local/tmp; chmod 755 program; ./program; echo $?; timeout 5 ./program; echo $?"
        assert (await shell(made, script))[1] == "42\n42\n"

    try:
        with_phone(tmp_path, work, abi="arm64-v8a")
    except InfrastructureError as error:
        if "6.7" in error.remedy:
            pytest.skip(str(error))  # an older kernel
        raise


def test_a_profile_of_ones_own_is_named_by_its_file(tmp_path: Path) -> None:
    import yaml

    content = load_profile("low-end").model_dump(mode="json")
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**content, "name": "mine"}))

    async def work(made: VirtualPhone) -> None:
        assert (await shell(made, "getprop ro.torchfarm.profile"))[1] == "mine\n"

    with_phone(tmp_path / "folder", work, profile=str(file))


def test_a_reboot_ends_processes_and_brings_the_phone_back(tmp_path: Path) -> None:
    async def work(made: VirtualPhone) -> None:
        await shell(made, "settings put global x 1; setsid nohup sleep 74 > /dev/null 2>&1 &")
        await made._reboot("")
        _, out, _ = await shell(made, "ps -o args; settings get global x; getprop sys.boot_completed")
        assert "sleep 74" not in out
        assert out.split()[-2:] == ["null", "1"]
        made.faults.full_storage = True
        await asyncio.sleep(0.2)
        assert made.machine.free_bytes() == 0

    with_phone(tmp_path, work)
