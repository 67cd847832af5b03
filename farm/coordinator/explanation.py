"""Why a job waits, in words. Pure; costs the users that wait for the job's device, and the devices that it may choose,
not their jobs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Protocol

from farm.coordinator.queue import LEVELS
from farm.coordinator.scheduler import entry
from farm.coordinator.state import FarmState
from farm.coordinator.views import BuildView, DeviceView, JobView
from farm.types import BuildState, DeviceHealth, JobState


class Pace(Protocol):
    """How fast a device works its queue off. None: not known."""

    def job_seconds(self, device_id: str) -> float | None:
        """How long a job usually holds it."""
        ...

    def held_seconds(self, device_id: str) -> float | None:
        """For how long it has been leased."""
        ...


@dataclass(frozen=True)
class Explanation:
    """``starts_in_seconds``: None where nothing is known to tell it by."""

    text: str
    starts_in_seconds: float | None = None


@dataclass(frozen=True)
class _Obstacle:
    """What keeps a device from taking the next job: in a word for many devices, and in full for one."""

    word: str
    text: str
    passes: bool = False  # by itself, and one can tell when


def explain(state: FarmState, job_id: int, pace: Pace) -> Explanation:
    """What a job waits for now."""
    job = state.jobs.get(job_id)
    if job is None:
        return Explanation(f"job {job_id} does not wait: it has ended, or there is none")
    device = state.devices[job.device_id]
    match job.state:
        case JobState.WAITING:
            return Explanation(_builds(state, job))
        case JobState.QUEUED:
            return _queued(state, job, device, pace)
        case _ if job_id not in device.holders:
            return Explanation(f"does not wait: {job.device_id} has measured, the result is being worked out")
        case _:
            return Explanation(f"{job.device_id} is leased to it, attempt {job.epoch}")


def _builds(state: FarmState, job: JobView) -> str:
    views = [state.builds[key] for key in sorted(job.needs)]
    texts = [
        f"build {view.key[:12]}, which is {view.state}{_trained_elsewhere(state, view)}"
        for view in views
        if view.state is not BuildState.BUILT
    ]
    if any(view.state is BuildState.PENDING for view in views) and (device := state.scheduler.measuring_device()):
        texts.append(f"{device} on the build host, which measures")
    # It is built, or has failed, and the job is about to hear of it: that takes a moment in a large run.
    return f"waits for {'; for '.join(texts) or 'its turn to be queued, its build has ended'}"


def _trained_elsewhere(state: FarmState, build: BuildView) -> str:
    """Where another build holds it back, which trains what it needs."""
    other = state.scheduler.same_student(build)
    return "" if other is None or other is build else f" while build {other.key[:12]} trains the same student"


def _queued(state: FarmState, job: JobView, device: DeviceView, pace: Pace) -> Explanation:
    ahead = device.queue.ahead(LEVELS[job.priority], job.user, entry(job))
    obstacle = _obstacle(state, device, job.user, pace)
    waits: list[str] = []
    choice = state.placement.choice_of(job)
    if choice:
        waits.append(_summary(state, choice, job.user, pace))
    elif obstacle:
        waits.append(f"{device.id} is {obstacle.text}")
    if ahead:
        waits.append(f"{ahead} {'job is' if ahead == 1 else 'jobs are'} ahead of it on {device.id}")
    at_quota = state.scheduler.at_quota(job.user)
    if at_quota:
        count = state.scheduler.leased_by[job.user]
        waits.append(f"{job.user} has {count} of at most {state.scheduler.devices_per_user} devices")
    text = f"waits: {'; '.join(waits)}" if waits else f"is next on {device.id}"
    certain = not at_quota and (obstacle is None or obstacle.passes)
    return Explanation(text, _start(device, ahead, pace) if certain else None)


def _start(device: DeviceView, ahead: int, pace: Pace) -> float | None:
    """Seconds, if its device stays in service and goes on as it did; a job that may choose may well start earlier."""
    seconds = pace.job_seconds(device.id)
    if seconds is None:
        return None
    return ahead * seconds + (_rest(device, pace) or 0.0 if device.holders else 0.0)


def _rest(device: DeviceView, pace: Pace) -> float | None:
    """How much longer the job that holds it will."""
    usual, held = pace.job_seconds(device.id), pace.held_seconds(device.id)
    return None if usual is None or held is None else max(0.0, usual - held)


def _summary(state: FarmState, choice: frozenset[str], user: str, pace: Pace) -> str:
    """ "3 devices match: 2 leased, 1 too hot: 41.2 °C > 35 °C"."""
    count = f"{len(choice)} {'device matches' if len(choice) == 1 else 'devices match'}"
    found = [obstacle for id in sorted(choice) if (obstacle := _obstacle(state, state.fleet[id], user, pace))]
    words = Counter(obstacle.word for obstacle in found)
    parts = [
        f"1 {next(o.text for o in found if o.word == word)}" if number == 1 else f"{number} {word}"
        for word, number in words.most_common()
    ]
    if len(found) < len(choice):
        parts.append(f"{len(choice) - len(found)} about to be free")
    return f"{count}: {', '.join(parts)}"


def _obstacle(state: FarmState, device: DeviceView, user: str, pace: Pace) -> _Obstacle | None:  # noqa: PLR0911
    if device.maintenance is not None:
        return _Obstacle("in maintenance", f"in maintenance ({device.maintenance})")
    if not device.online:
        return _Obstacle("offline", "offline" if device.agent else "not reported by an agent yet")
    if device.holders:
        holder = state.jobs[min(device.holders)]
        rest = _rest(device, pace)
        for_long = f" for about {rest:.0f} s more" if rest is not None else ""
        return _Obstacle("leased", f"leased to job {holder.id} of run {holder.run_id}{for_long}", passes=True)
    if device.health is not DeviceHealth.GOOD:
        word = {
            DeviceHealth.BAD: "quarantined",
            DeviceHealth.LOOPING: "checked in a loop",
            DeviceHealth.UNKNOWN: "being checked",
        }[device.health]
        return _Obstacle(word, f"{word} ({device.health_reason})")
    if device.blocked:
        return _Obstacle("held back by their agents", device.blocked)
    if device.reserved_for not in (None, user):
        return _Obstacle("reserved", f"reserved for {device.reserved_for}")
    if not state.scheduler.may_measure(device):
        return _Obstacle("on a machine that builds", "on a machine that builds")
    return None
