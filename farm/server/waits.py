"""Why jobs wait: as the coordinator says now, or else as it wrote down last."""

from __future__ import annotations

from collections.abc import Sequence

from farm.coordinator.enquiry import Enquiry
from farm.types import Job, JobState, JobWait


def waits(jobs: Sequence[Job], enquiry: Enquiry) -> list[JobWait]:
    """In the order of the jobs, at most as many as can be asked for at once."""
    answers = (enquiry.ask([job.id for job in jobs]) if jobs else None) or {}
    return [answers.get(job.id) or _written(job) for job in jobs]


def _written(job: Job) -> JobWait:
    return JobWait(job_id=job.id, text=job.reason or _by_state(job), starts_in_seconds=None, live=False)


def _by_state(job: Job) -> str:
    match job.state:
        case JobState.WAITING:
            return "its artifact is not built yet"
        case JobState.QUEUED:
            return f"queued for {job.device_id}"
    return f"{job.device_id} is leased for it"
