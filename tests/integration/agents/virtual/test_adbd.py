"""A virtual phone's adbd under stock adb programs, under its faults, and under garbage."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from tests.conformance import adb as conformance
from tests.conformance.machine import BUSYBOX
from tests.conformance.phone import Adb, Phone, phone, programs, until

pytestmark = pytest.mark.skipif(BUSYBOX is None, reason="needs busybox for the phone's shell")
PROGRAMS = programs()
VERSION, MAX_PAYLOAD = 0x01000001, 2**20


@pytest.fixture
def virtual(tmp_path: Path) -> Iterator[Phone]:
    with phone(tmp_path / "phone") as made:
        yield made


@pytest.fixture(params=["system", "adbutils"])
def adb(request: pytest.FixtureRequest, virtual: Phone, tmp_path: Path) -> Iterator[Adb]:
    if request.param not in PROGRAMS:
        pytest.skip(f"no adb program of {request.param} on this machine")
    made = Adb(PROGRAMS[request.param], tmp_path / "home", virtual.address)
    made.start()
    made.connect()
    yield made
    made.stop()


@pytest.mark.slow
@pytest.mark.parametrize("program", ["system", "adbutils"])
def test_conformance(program: str, virtual: Phone, tmp_path: Path) -> None:
    """The whole script, of smaller sizes: ``python -m tests.conformance.adb`` has the large ones."""
    if program not in PROGRAMS:
        pytest.skip(f"no adb program of {program} on this machine")
    adb = Adb(PROGRAMS[program], tmp_path / "home", virtual.address)
    done = [name for name, _ in conformance.run(conformance.Place(adb, tmp_path, 20_000_000, 500))]
    assert len(done) == len(conformance.CHECKS)


def test_unplugged_and_plugged_in_again(virtual: Phone, adb: Adb) -> None:
    cut: list[int] = []
    running = threading.Thread(target=lambda: cut.append(adb("shell", "echo > started; sleep 30").returncode))
    running.start()
    until((virtual.machine.root / "started").exists)
    virtual.switch("unplug")
    running.join(10)
    # adb 29.0.6 then exits with 0, later ones do not: why an exit code alone says nothing.
    assert cut, "a command under way is cut"
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", virtual.daemon.port), timeout=5):
        pass
    assert adb("shell", "true").returncode != 0
    virtual.switch("unplug", False)
    adb.connect()
    assert adb.ok("shell", "echo back") == "back\n"


def test_offline_answers_nothing(virtual: Phone, adb: Adb) -> None:
    virtual.switch("offline")
    until(lambda: adb.state() == "offline")
    assert adb("shell", "true").returncode != 0
    virtual.switch("offline", False)
    adb.connect()
    assert adb.ok("shell", "echo back") == "back\n"


def test_unauthorized_until_somebody_accepts(virtual: Phone, adb: Adb) -> None:
    virtual.switch("unauthorized")
    adb("disconnect", adb.serial)
    adb("connect", adb.serial)
    until(lambda: adb.state() == "unauthorized")
    done = adb("shell", "true")
    assert done.returncode != 0 and b"unauthorized" in done.stderr
    virtual.switch("unauthorized", False)
    until(lambda: adb.state() == "device")
    assert adb.ok("shell", "echo accepted") == "accepted\n"


def test_a_broken_header_ends_the_link(virtual: Phone, adb: Adb) -> None:
    virtual.switch("protocol_fault", "header")
    done = adb("shell", "echo hello")
    assert b"hello" not in done.stdout
    virtual.switch("protocol_fault", None)
    adb.connect()
    assert adb.ok("shell", "echo hello") == "hello\n"


def test_a_broken_payload_arrives_unnoticed(virtual: Phone, adb: Adb, tmp_path: Path) -> None:
    (virtual.machine.root / "data/local/tmp/file").write_bytes(bytes(1000))
    virtual.switch("protocol_fault", "payload")
    adb.ok("pull", "/data/local/tmp/file", str(tmp_path / "pulled"))
    assert sum(byte != 0 for byte in (tmp_path / "pulled").read_bytes()) == 1


def test_a_slow_link_is_slow_both_ways(virtual: Phone, adb: Adb, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(Random(1).randbytes(300_000))  # noqa: S311
    virtual.switch("slow_link_bytes_per_second", 200_000)
    for way in (
        ("push", str(tmp_path / "file"), "/data/local/tmp/file"),
        ("pull", "/data/local/tmp/file", str(tmp_path / "back")),
    ):
        start = time.monotonic()
        adb.ok(*way)
        assert 1.2 < time.monotonic() - start < 10, way
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()
    virtual.switch("slow_link_bytes_per_second", None)
    start = time.monotonic()
    adb.ok("pull", "/data/local/tmp/file", str(tmp_path / "back"))
    assert time.monotonic() - start < 1.2


def test_no_room_is_said_and_leaves_nothing(virtual: Phone, adb: Adb, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(3_000_000))
    virtual.machine.free = 10
    done = adb("push", str(tmp_path / "file"), "/data/local/tmp/file")
    assert done.returncode == 1 and b"No space left on device" in done.stdout + done.stderr
    assert not (virtual.machine.root / "data/local/tmp/file").exists()
    virtual.machine.free = None
    adb.ok("push", str(tmp_path / "file"), "/data/local/tmp/file")


def test_a_lost_link_hangs_up_and_spares_the_detached(virtual: Phone, adb: Adb) -> None:
    root = virtual.machine.root
    script = (
        "setsid sh -c 'sleep 1.5; echo > detached' </dev/null >/dev/null 2>&1 & sleep 1.5; echo > attached; sleep 20"
    )
    running = threading.Thread(target=lambda: adb("shell", script))
    running.start()
    time.sleep(0.7)
    virtual.switch("unplug")
    running.join(10)
    until((root / "detached").exists)
    assert not (root / "attached").exists()


def test_a_reboot_cuts_and_comes_back(virtual: Phone, adb: Adb) -> None:
    adb("reboot", "recovery")
    until(lambda: virtual.rebooted == ["recovery"])
    adb.connect()
    assert adb.ok("shell", "echo up") == "up\n"


def test_several_servers_at_once(virtual: Phone, adb: Adb, tmp_path: Path) -> None:
    other = Adb(adb.program, tmp_path / "other", virtual.address)
    other.start()
    try:
        other.connect()
        assert adb.ok("shell", "echo one") == "one\n"
        assert other.ok("shell", "echo two") == "two\n"
    finally:
        other.stop()
    assert adb.ok("shell", "echo one") == "one\n"


def test_links_are_kept_as_links(virtual: Phone, adb: Adb, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "target").write_text("text")
    adb.ok("push", str(folder), "/data/local/tmp/new/deep")
    root = virtual.machine.root / "data/local/tmp"
    assert (root / "new/deep/target").read_text() == "text"
    (root / "link").symlink_to("new/deep/target")
    adb.ok("push", str(folder / "target"), "/data/local/tmp/link")
    assert not (root / "link").is_symlink(), "a file takes the place of a link, not of what it leads to"


def test_garbage_costs_one_connection_and_no_more(virtual: Phone, adb: Adb) -> None:
    seeded = Random(3)  # noqa: S311
    for _ in range(100):
        with socket.create_connection(("127.0.0.1", virtual.daemon.port), timeout=5) as link:
            # Cut while it is being sent, or after: both are well.
            with suppress(OSError):
                link.sendall(_garbage(seeded))
                link.shutdown(socket.SHUT_WR)
                while link.recv(65536):
                    pass
    assert adb.ok("shell", "echo still") == "still\n"
    assert virtual.do(_connections(virtual)) == 1


def _connections(virtual: Phone):
    async def count() -> int:
        return len(virtual.daemon.connections)

    return count


def _garbage(seeded: Random) -> bytes:
    """Noise, packets of noise, and packets that make sense in a wrong order."""
    kind = seeded.randrange(3)
    if kind == 0:
        return seeded.randbytes(seeded.randrange(1, 4000))
    names = [b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"WRTE", b"CLSE", b"STLS", b"SYNC"]
    packets = [_packet(b"CNXN", VERSION, MAX_PAYLOAD, b"host::")] if kind == 1 else []
    for _ in range(seeded.randrange(20)):
        payload = seeded.randbytes(seeded.choice([0, 1, 20, 256, 700]))
        packets.append(_packet(seeded.choice(names), seeded.randrange(4), seeded.randrange(4), payload))
    return b"".join(packets)


def _packet(name: bytes, arg0: int, arg1: int, payload: bytes) -> bytes:
    command = int.from_bytes(name, "little")
    return struct.pack("<6I", command, arg0, arg1, len(payload), sum(payload), command ^ 0xFFFFFFFF) + payload


def test_garbage_inside_an_authorized_link(tmp_path: Path) -> None:
    """Services get noise, and streams that do not exist: whoever sends it is cut or told, the next one is served."""
    with phone(tmp_path / "phone") as virtual:
        virtual.machine.properties["ro.adb.secure"] = "0"
        seeded = Random(4)  # noqa: S311
        for _ in range(60):
            with socket.create_connection(("127.0.0.1", virtual.daemon.port), timeout=5) as link:
                sent = _packet(b"CNXN", VERSION, MAX_PAYLOAD, b"host::")
                for stream, service in enumerate(
                    (b"sync:", b"shell,v2,raw:cat", b"shell:cat", b"reverse:forward:", b"nonsense:"), 1
                ):
                    sent += _packet(b"OPEN", stream, 0, service + b"\x00")
                for _ in range(seeded.randrange(30)):
                    name = seeded.choice([b"OKAY", b"WRTE", b"WRTE", b"CLSE"])
                    sent += _packet(
                        name, seeded.randrange(6), seeded.randrange(6), seeded.randbytes(seeded.choice([0, 3, 8, 90]))
                    )
                link.sendall(sent)
                link.settimeout(5)
                assert struct.unpack("<6I", link.recv(24, socket.MSG_WAITALL))[0] == int.from_bytes(b"CNXN", "little")
        until(lambda: virtual.do(_connections(virtual)) == 0)
        if PROGRAMS:
            adb = Adb(next(iter(PROGRAMS.values())), tmp_path / "home", virtual.address)
            adb.start()
            try:
                adb.connect()
                assert adb.ok("shell", "echo whole") == "whole\n"
            finally:
                adb.stop()
