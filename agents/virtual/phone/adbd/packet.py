"""Packets of the transport: a header of 24 bytes, little-endian, and a payload (AOSP's adb/protocol.txt)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from farm.errors import LinkLost

HEADER = struct.Struct("<6I")  # command, arg0, arg1, length, checksum, command ^ 0xffffffff
HEADER_BYTES = HEADER.size
VERSION_WITH_CHECKSUM = 0x01000000
VERSION = 0x01000001  # both of this version: payloads are sent with checksum 0 and not checked
MAX_PAYLOAD_BYTES = 2**20
OLDEST_MAX_PAYLOAD_BYTES = 4096  # what the first versions could take, and no peer may go below

Payload = bytes | bytearray | memoryview


def _command(name: str) -> int:
    return int.from_bytes(name.encode(), "little")


CNXN, AUTH, OPEN, OKAY, WRTE, CLSE = map(_command, ("CNXN", "AUTH", "OPEN", "OKAY", "WRTE", "CLSE"))
AUTH_TOKEN, AUTH_SIGNATURE, AUTH_RSAPUBLICKEY = 1, 2, 3


class Packet(NamedTuple):
    command: int
    arg0: int
    arg1: int
    payload: Payload = b""


@dataclass(frozen=True)
class Header:
    command: int
    arg0: int
    arg1: int
    length: int
    checksum: int


def checksum(payload: Payload) -> int:
    """Not a CRC, whatever protocol.txt calls it: the sum of the bytes."""
    return sum(payload) & 0xFFFFFFFF


def header(packet: Packet, *, with_checksum: bool) -> bytes:
    command, arg0, arg1, payload = packet
    total = checksum(payload) if with_checksum else 0
    return HEADER.pack(command, arg0, arg1, len(payload), total, command ^ 0xFFFFFFFF)


def parse(data: Payload) -> Header:
    """Raises LinkLost when these are not the 24 bytes of a header."""
    command, arg0, arg1, length, total, magic = HEADER.unpack(data)
    if command != magic ^ 0xFFFFFFFF:
        raise broken(f"a header whose magic does not fit its command {command:#010x}")
    if length > MAX_PAYLOAD_BYTES:
        raise broken(f"a payload of {length} bytes, where {MAX_PAYLOAD_BYTES} are the most")
    return Header(command, arg0, arg1, length, total)


def verify(head: Header, payload: Payload) -> None:
    """Raises LinkLost when the payload is not what the sender summed up."""
    if checksum(payload) != head.checksum:
        raise broken(f"a payload of {len(payload)} bytes that does not fit its checksum")


def broken(what: str) -> LinkLost:
    return LinkLost(f"The adb server sent {what}.", remedy="Let it connect again.")
