"""Devices: what they are, how they are, and who may use them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from farm.types.base import Frozen, Name
from farm.types.runs import Attempt
from farm.types.tools import ToolOffer


class DeviceState(StrEnum):
    """What a device does. ``MAINTENANCE``: a person has taken it out of service."""

    ONLINE = "online"
    LEASED = "leased"
    OFFLINE = "offline"
    MAINTENANCE = "maintenance"


class DeviceHealth(StrEnum):
    """How a device is, whatever it does (the distinction and its words are LAVA's, the Linaro test farm's).

    Only a ``GOOD`` device gets jobs. ``UNKNOWN`` ones are checked first, ``LOOPING`` ones again and again because a
    person asked for it, ``BAD`` ones failed every rung of the recovery ladder.
    """

    GOOD = "good"
    UNKNOWN = "unknown"
    LOOPING = "looping"
    BAD = "bad"


# The rungs of the recovery ladder, from the mildest on, and the check alone.
RecoveryStep = Literal["reconnect", "power-cycle", "reboot"]
CheckStep = Literal["check", RecoveryStep]
Hook = Literal["pre-lease", "post-lease", "power-cycle"]
OrderKind = Literal["drain", "maintain", "resume", "check", "loop", "reserve"]


class CpuCluster(Frozen):
    """CPUs of one kind: those with one highest frequency."""

    cpus: tuple[int, ...]
    max_hertz: int


class DeviceFacts(Frozen):
    """What a device is. ``virtual`` marks simulated devices and emulators, ``emulator`` the latter; ``hypervisor`` a
    host inside a VM. ``clusters``: from the slowest to the fastest, empty where they are not told apart.
    ``page_bytes``: of memory, where it is told: programs must be aligned to it.

    Of a phone that its agent may not look at yet, texts are "unknown" and counts 0.
    """

    platform: Literal["linux", "android", "ios", "cuda"]
    device_model: str
    soc: str
    abi: str
    os_version: str
    memory_bytes: int
    cpu_count: int
    accelerators: tuple[str, ...] = ("cpu",)
    runtimes: tuple[str, ...] = ()
    tools: tuple[ToolOffer, ...] = ()
    clusters: tuple[CpuCluster, ...] = ()
    virtual: bool = False
    emulator: bool = False
    page_bytes: int | None = None
    hypervisor: str | None = None


class DeviceReadings(Frozen):
    """How a device was when its agent last looked. A field is absent where it could not be read.

    ``thermal_status``: Android's, 0 (none) to 6 (shutdown). ``powered``: a charger or USB feeds it.
    ``temperatures_celsius``: by sensor, beside the battery's; ``cpu_hertz``: by cluster.
    """

    battery_ratio: float | None = None
    battery_celsius: float | None = None
    powered: bool | None = None
    thermal_status: int | None = None
    temperatures_celsius: dict[str, float] = {}
    cpu_hertz: dict[str, float] = {}


class Device(Frozen):
    """``id`` is stable over restarts. ``host`` names the machine, so that builds keep off a device that measures.

    Its agent says all down to ``hooks``; ``blocked`` is why it may not start a job at the moment ("too hot: 41.2 °C >
    35 °C"), ``recovery`` the steps that can be taken there. The head says the rest; ``failures`` counts the
    infrastructure's in a row, ``maintenance`` is the reason that a person gave. ``noise_ratio``: by how
    much the median latency of one artifact differs from night to night, 95 % of it by less; None until nights told.
    """

    id: Name
    agent: Name
    host: str
    facts: DeviceFacts
    labels: dict[str, str] = {}
    blocked: str = ""
    readings: DeviceReadings | None = None
    recovery: tuple[RecoveryStep, ...] = ()
    hooks: tuple[Hook, ...] = ()
    state: DeviceState = DeviceState.OFFLINE
    health: DeviceHealth = DeviceHealth.UNKNOWN
    health_reason: str = ""
    failures: int = 0
    maintenance: str | None = None
    noise_ratio: float | None = None
    last_seen_at: datetime | None = None


class DeviceCheck(Frozen):
    """A health check, after the step of the recovery ladder that was taken before it."""

    device_id: Name
    at: datetime
    step: CheckStep
    passed: bool
    detail: str
    seconds: float = Field(ge=0)


class Reservation(Frozen):
    """A person has the device for a while: only their jobs are started on it."""

    id: int
    device_id: Name
    user: str
    reason: str
    created_at: datetime
    until: datetime


class DeviceOrder(Frozen):
    """What a person asked of a device; the coordinator carries it out. ``reserve``: its reservation changed."""

    id: int
    device_id: Name
    kind: OrderKind
    by: str
    at: datetime
    reason: str = ""


class DeviceDetails(Frozen):
    """``checks``: the newest first. ``holder``: the attempt that has it leased."""

    device: Device
    holder: Attempt | None
    reservation: Reservation | None
    checks: tuple[DeviceCheck, ...]
