"""What of the catalogue is scraped, made of what the farm knows at that moment. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from farm.metrics import catalogue
from farm.metrics.text import Family
from farm.types import Device, DeviceHealth, DeviceReadings, DeviceState, JobState, RunState

_REASON_CHARACTERS = 120


@dataclass(frozen=True)
class Snapshot:
    """What the database says of a moment. ``outbox_since``: when the oldest that waits was queued."""

    at: datetime
    devices: Sequence[Device]
    leased_since: Mapping[str, datetime]
    runs: Mapping[RunState, int]
    jobs: Mapping[JobState, int]
    queued: Mapping[str, int]  # by device
    outbox: Mapping[str, int]  # by state
    outbox_since: datetime | None
    nights: Mapping[tuple[str, str], int]  # by sweep and state; every sweep has all states
    regressions: Mapping[tuple[str, str], int]  # likewise
    notices: Mapping[str, int]  # by state


def of_head(now: Snapshot) -> Iterator[Family]:
    states = {device.id: state_of(device) for device in now.devices}
    yield Family(catalogue.DEVICE_INFO, ((_info(device), 1) for device in now.devices))
    yield Family(
        catalogue.DEVICE_STATE,
        (
            ((id, state), 1 if state == current else 0)
            for id, current in states.items()
            for state in catalogue.DEVICE_STATES
        ),
    )
    yield Family(
        catalogue.DEVICE_ONLINE,
        (((device.id,), 0 if device.state is DeviceState.OFFLINE else 1) for device in now.devices),
    )
    yield Family(
        catalogue.DEVICE_TROUBLE,
        (
            ((device.id, states[device.id], reason), 1)
            for device in now.devices
            if (reason := trouble_of(device, states[device.id]))
        ),
    )
    yield Family(
        catalogue.NOISE,
        (((device.id,), device.noise_ratio) for device in now.devices if device.noise_ratio is not None),
    )
    yield Family(
        catalogue.LEASE_AGE,
        (((id,), max(0.0, (now.at - since).total_seconds())) for id, since in now.leased_since.items()),
    )
    yield Family(catalogue.RUNS, (((state,), now.runs.get(state, 0)) for state in RunState))
    yield Family(catalogue.JOBS, (((state,), now.jobs.get(state, 0)) for state in JobState))
    platforms = {device.id: device.facts.platform for device in now.devices}
    queues = Counter(dict.fromkeys(platforms.values(), 0))
    for id, count in now.queued.items():
        queues[platforms[id]] += count
    yield Family(catalogue.QUEUE_JOBS, (((platform,), count) for platform, count in sorted(queues.items())))
    yield Family(catalogue.SWEEP_NIGHTS, now.nights.items())
    yield Family(catalogue.REGRESSIONS, now.regressions.items())
    yield Family(catalogue.NOTICES, (((state,), count) for state, count in now.notices.items()))
    yield Family(catalogue.OUTBOX_PENDING, [((), now.outbox["pending"])])
    yield Family(catalogue.OUTBOX_DEAD, [((), now.outbox["dead"])])
    age_seconds = (now.at - now.outbox_since).total_seconds() if now.outbox_since else 0.0
    yield Family(catalogue.OUTBOX_OLDEST, [((), max(0.0, age_seconds))])


def of_agent(readings: Mapping[str, DeviceReadings]) -> Iterator[Family]:
    """By device. What a device does not show has no sample."""
    devices = sorted(readings.items())
    yield Family(
        catalogue.BATTERY, (((id,), read.battery_ratio) for id, read in devices if read.battery_ratio is not None)
    )
    yield Family(
        catalogue.TEMPERATURE,
        (((id, sensor), celsius) for id, read in devices for sensor, celsius in _temperatures(read).items()),
    )
    yield Family(
        catalogue.THERMAL_STATUS,
        (((id,), read.thermal_status) for id, read in devices if read.thermal_status is not None),
    )
    yield Family(
        catalogue.FREQUENCY,
        (((id, cluster), hertz) for id, read in devices for cluster, hertz in sorted(read.cpu_hertz.items())),
    )


def state_of(device: Device) -> str:
    """One of the catalogue's: the first that holds of offline, maintenance, quarantined, leased, online."""
    if device.state in (DeviceState.OFFLINE, DeviceState.MAINTENANCE):
        return device.state.value
    return "quarantined" if device.health is DeviceHealth.BAD else device.state.value


def trouble_of(device: Device, state: str) -> str:
    """Why it gets no jobs; empty if it does."""
    match state:
        case "offline":
            reason = "its agent does not have it"
        case "maintenance":
            reason = device.maintenance or "taken out of service"
        case "quarantined":
            reason = device.health_reason or "it failed its checks"
        case _:
            reason = device.blocked
    return reason[:_REASON_CHARACTERS]


def _temperatures(read: DeviceReadings) -> dict[str, float]:
    battery = {} if read.battery_celsius is None else {"battery": read.battery_celsius}
    return dict(sorted({**battery, **read.temperatures_celsius}.items()))


def _info(device: Device) -> tuple[str, ...]:
    facts = device.facts
    virtual = "true" if facts.virtual else "false"
    return (
        device.id,
        facts.device_model,
        facts.soc,
        facts.platform,
        facts.abi,
        facts.os_version,
        device.agent,
        virtual,
    )
