"""The codecs of adbd: what is packed is what is parsed, and garbage is refused."""

from __future__ import annotations

import base64
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.virtual.phone.adbd import auth, packet, records, shell
from agents.virtual.phone.adbd.packet import Packet
from agents.virtual.phone.faults import Faults
from farm.errors import LinkLost, UserError

NUMBERS = st.integers(0, 2**32 - 1)


@given(NUMBERS, NUMBERS, NUMBERS, st.binary(max_size=2000), st.booleans())
def test_a_header_is_parsed_as_it_was_made(command: int, arg0: int, arg1: int, payload: bytes, summed: bool) -> None:
    data = packet.header(Packet(command, arg0, arg1, payload), with_checksum=summed)
    head = packet.parse(data)
    assert (head.command, head.arg0, head.arg1, head.length) == (command, arg0, arg1, len(payload))
    assert head.checksum == (sum(payload) if summed else 0)
    if summed:
        packet.verify(head, payload)


@given(st.binary(min_size=24, max_size=24))
def test_garbage_is_a_header_or_a_lost_link(data: bytes) -> None:
    try:
        head = packet.parse(data)
    except LinkLost:
        return
    assert head.length <= packet.MAX_PAYLOAD_BYTES


@given(st.binary(min_size=1, max_size=200), st.data())
def test_a_damaged_payload_does_not_fit_its_checksum(payload: bytes, data: st.DataObject) -> None:
    head = packet.parse(packet.header(Packet(packet.WRTE, 1, 2, payload), with_checksum=True))
    damaged = bytearray(payload)
    damaged[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(LinkLost):
        packet.verify(head, damaged)


@given(st.lists(st.tuples(st.sampled_from(shell.Id), st.binary(max_size=300))), st.data())
def test_frames_of_a_shell_come_out_whole_however_they_arrive(
    sent: list[tuple[shell.Id, bytes]], data: st.DataObject
) -> None:
    whole = b"".join(shell.frame(kind, content) for kind, content in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)))))
    frames, found = shell.Frames(), []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        found += frames.feed(whole[start:end])
    assert found == sent


def test_a_frame_longer_than_any_is_refused() -> None:
    with pytest.raises(LinkLost):
        list(shell.Frames().feed(struct.pack("<BI", 0, 2**31)))


@pytest.mark.parametrize(
    ("service", "request_"),
    [
        ("shell:ls -l", shell.Request("ls -l", protocol=False, terminal=False)),
        ("shell:", shell.Request(None, protocol=False, terminal=True)),
        ("shell,v2,TERM=xterm-256color,raw:a:b", shell.Request("a:b", protocol=True, terminal=False)),
        ("shell,v2,TERM=xterm,pty:top", shell.Request("top", protocol=True, terminal=True)),
        ("shell,v2,raw:", shell.Request(None, protocol=True, terminal=False)),
        ("exec:cat x", shell.Request("cat x", protocol=False, terminal=False)),
    ],
)
def test_what_a_shell_service_asks_for(service: str, request_: shell.Request) -> None:
    assert shell.parse(service) == request_


@given(st.binary(max_size=1000).filter(lambda path: b"\x00" not in path), st.integers(0, 0o177777))
def test_path_and_mode_of_send(path: bytes, mode: int) -> None:
    assert records.send_1(path + b",%d" % mode) == (path, mode)
    assert records.send_1(path + b",0%o" % mode) == (path, mode)
    assert records.send_1(path + b",0x%x" % mode) == (path, mode)


@given(st.binary(max_size=100))
def test_send_without_a_mode_says_what_is_wrong(spec: bytes) -> None:
    try:
        path, _ = records.send_1(spec)
    except ValueError as error:
        assert str(error) in ("missing , in ID_SEND_V1", "bad mode")
    else:
        assert spec.startswith(path + b",")


def test_what_sync_says_of_a_file(tmp_path: Path) -> None:
    """The layouts of SYNC.TXT, unpacked by hand."""
    file = tmp_path / "file"
    file.write_bytes(b"12345")
    os.utime(file, (1_700_000_000, 1_700_000_001))
    found = file.stat()
    assert struct.unpack("<4s3I", records.stat_1(found)) == (b"STAT", found.st_mode, 5, 1_700_000_001)
    long = struct.unpack("<4sIQQIIIIQqqq", records.stat_2(b"STA2", found))
    assert len(records.stat_2(b"STA2", found)) == 72
    assert long[:5] == (b"STA2", 0, found.st_dev, found.st_ino, found.st_mode)
    assert long[8:11] == (5, 1_700_000_000, 1_700_000_001)
    assert struct.unpack("<4sI64x", records.stat_2(b"LST2", None, 2)) == (b"LST2", 2)
    assert records.entry_1(b"file", found)[:4] == b"DENT" and records.entry_1(b"file", found)[16:] == b"\x04\0\0\0file"
    assert records.entry_2(b"file", found)[72:] == b"\x04\0\0\0file"
    assert len(records.end_1()) == 20 and len(records.end_2()) == 76


# A key of 2048 bits, made for this test alone: p and q are primes, d fits e = 65537.
def _key() -> tuple[int, int]:
    """Modulus and private exponent."""
    from math import gcd

    p, q = _prime(1024, 11), _prime(1024, 12)
    order = (p - 1) * (q - 1)
    assert gcd(65537, order) == 1
    return p * q, pow(65537, -1, order)


def _prime(bits: int, seed: int) -> int:
    from random import Random

    random = Random(seed)  # noqa: S311
    while True:
        number = random.getrandbits(bits) | (3 << (bits - 2)) | 1
        if all(pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7)) and (number - 1) % 65537:
            return number


def _sent(modulus: int, owner: str) -> bytes:
    words = struct.pack("<II256s256sI", 64, 0, modulus.to_bytes(256, "little"), bytes(256), 65537)
    return base64.b64encode(words) + f" {owner}\x00".encode()


def test_only_the_owner_of_an_accepted_key_can_sign(tmp_path: Path) -> None:
    modulus, private = _key()
    key = auth.public_key(_sent(modulus, "me@host"))
    assert key is not None
    token = bytes(range(20))
    padded = b"\x00\x01" + b"\xff" * 218 + b"\x00" + bytes.fromhex("3021300906052b0e03021a05000414") + token
    signature = pow(int.from_bytes(padded, "big"), private, modulus).to_bytes(256, "big")
    keys = auth.AcceptedKeys(tmp_path / "adb_keys")
    assert not keys.signed(token, signature)
    keys.accept(key)
    assert keys.signed(token, signature)
    assert not keys.signed(bytes(20), signature)
    assert not keys.signed(token, signature[:-1]) and not keys.signed(token, bytes(256))
    assert auth.AcceptedKeys(tmp_path / "adb_keys").signed(token, signature), "kept from start to start"
    keys.forget()
    assert not auth.AcceptedKeys(tmp_path / "adb_keys").signed(token, signature)


@given(st.binary(max_size=1000))
def test_what_is_no_public_key_is_none(data: bytes) -> None:
    assert auth.public_key(data) is None
    assert auth.public_key(base64.b64encode(data) + b" somebody\x00") is None


def test_faults_are_checked_and_told() -> None:
    faults, told = Faults(), []
    end = faults.watch(told.append)
    faults.unplug = True
    faults.unplug = True
    faults.switch("slow_link_bytes_per_second", 1000)
    assert told == ["unplug", "slow_link_bytes_per_second"]
    with pytest.raises(UserError, match="slow_link"):
        faults.switch("slow_link_bytes_per_second", -1)
    with pytest.raises(UserError, match="no fault 'rain'"):
        faults.switch("rain")
    faults.clear()
    assert faults.model_dump() == Faults().model_dump() and told[2:] == ["unplug", "slow_link_bytes_per_second"]
    end()
    faults.offline = True
    assert len(told) == 4
