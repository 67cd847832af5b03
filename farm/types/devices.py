"""Devices, and what they are."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from farm.types.base import Frozen, Name


class DeviceState(StrEnum):
    ONLINE = "online"
    LEASED = "leased"
    OFFLINE = "offline"


class DeviceFacts(Frozen):
    """What a device is. ``virtual`` marks simulated devices and emulators; ``hypervisor`` a host inside a VM."""

    platform: Literal["linux", "android", "ios", "cuda"]
    device_model: str
    soc: str
    abi: str
    os_version: str
    memory_bytes: int
    cpu_count: int
    accelerators: tuple[str, ...] = ("cpu",)
    runtimes: tuple[str, ...] = ()
    virtual: bool = False
    hypervisor: str | None = None


class Device(Frozen):
    """``id`` is stable over restarts. ``host`` names the machine, so that builds keep off a device that measures."""

    id: Name
    agent: Name
    host: str
    facts: DeviceFacts
    labels: dict[str, str] = {}
    state: DeviceState = DeviceState.OFFLINE
    last_seen_at: datetime | None = None
