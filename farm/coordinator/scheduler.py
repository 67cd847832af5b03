"""What may start now. Pure: reads the state, changes nothing.

A machine that builds does not measure: its own CPU devices would report the build's load. Builds go first,
because a job cannot start without its artifact; the devices of other machines are not held up by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from farm.types import BuildState, JobState

if TYPE_CHECKING:
    from farm.coordinator.state import DeviceView, FarmState, JobView


def builds_to_start(state: FarmState) -> list[str]:
    """Keys of pending builds that fit into free slots, oldest job first."""
    if any(device.holder is not None and device.host == state.build_host for device in state.devices.values()):
        return []
    building = sum(build.state is BuildState.BUILDING for build in state.builds.values())
    pending = [build for build in state.builds.values() if build.state is BuildState.PENDING and build.jobs]
    pending.sort(key=lambda build: min(build.jobs))
    return [build.key for build in pending[: max(0, state.build_slots - building)]]


def attempts_to_start(state: FarmState) -> list[tuple[JobView, DeviceView]]:
    """Queued jobs and free devices, in the order of submission per device.

    Jobs of one run are numbered scenario by scenario, so that the variants of a model are measured one
    right after the other and slow drift of the machine touches all of them alike.
    """
    builds_active = any(build.state in (BuildState.PENDING, BuildState.BUILDING) for build in state.builds.values())
    free = {
        device.id: device
        for device in state.devices.values()
        if device.online and device.holder is None and not (builds_active and device.host == state.build_host)
    }
    chosen: dict[str, JobView] = {}
    for job in state.jobs.values():
        if job.state is JobState.QUEUED and job.device_id in free:
            best = chosen.get(job.device_id)
            if best is None or job.id < best.id:
                chosen[job.device_id] = job
    return [(job, free[device_id]) for device_id, job in chosen.items()]
