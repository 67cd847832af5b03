"""Why a job waits, in words. Pure; costs the users that wait for the job's device, not their jobs."""

from __future__ import annotations

from farm.coordinator.queue import LEVELS
from farm.coordinator.scheduler import entry
from farm.coordinator.state import FarmState
from farm.coordinator.views import DeviceView, JobView
from farm.types import BuildState, JobState


def explain(state: FarmState, job_id: int, job_seconds: float | None = None) -> str:
    """What a job waits for now. ``job_seconds``: how long a job holds a device, for an estimate of its start; without
    it, and where more than other jobs of this device is in the way, there is none."""
    job = state.jobs.get(job_id)
    if job is None:
        return f"job {job_id} does not wait: it has ended, or there is none"
    device = state.devices[job.device_id]
    match job.state:
        case JobState.WAITING:
            return _builds(state, job)
        case JobState.QUEUED:
            return _queued(state, job, device, job_seconds)
        case _ if job_id not in device.holders:
            return f"does not wait: {job.device_id} has measured, the result is being worked out"
        case _:
            return f"{job.device_id} is leased to it, attempt {job.epoch}"


def _builds(state: FarmState, job: JobView) -> str:
    views = [state.builds[key] for key in sorted(job.needs)]
    texts = [f"build {view.key[:12]}, which is {view.state}" for view in views if view.state is not BuildState.BUILT]
    if any(view.state is BuildState.PENDING for view in views) and (device := state.scheduler.measuring_device()):
        texts.append(f"{device} on the build host, which measures")
    return f"waits for {'; for '.join(texts)}"


def _queued(state: FarmState, job: JobView, device: DeviceView, job_seconds: float | None) -> str:
    ahead = device.queue.ahead(LEVELS[job.priority], job.user, entry(job))
    waits: list[str] = []
    certain = True
    if not device.online:
        certain = False
        waits.append(f"{device.id} is offline" if device.agent else f"no agent has reported {device.id} yet")
    elif device.holders:
        waits.append(_holder(state, device))
    elif not state.scheduler.may_measure(device):
        certain = False
        waits.append(f"the machine of {device.id} is building")
    if ahead:
        waits.append(f"{ahead} {'job is' if ahead == 1 else 'jobs are'} ahead of it on {device.id}")
    if state.scheduler.at_quota(job.user):
        certain = False
        count = state.scheduler.leased_by[job.user]
        waits.append(f"{job.user} has {count} of at most {state.scheduler.devices_per_user} devices")
    text = f"waits: {'; '.join(waits)}" if waits else f"is next on {device.id}"
    if job_seconds is not None and certain:
        text += f"; starts in about {job_seconds * (ahead + len(device.holders)):.0f} s"
    return text


def _holder(state: FarmState, device: DeviceView) -> str:
    holder = state.jobs[min(device.holders)]
    return f"{device.id} is leased to job {holder.id} of run {holder.run_id}"
