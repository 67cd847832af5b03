"""What is behind a single figure: the attempts at a job, and its raw samples."""

from __future__ import annotations

from fastapi import APIRouter

from farm.errors import NotFoundError
from farm.server.auth import Reader
from farm.server.parameters import Id
from farm.server.problems import documented
from farm.server.resources import Farm
from farm.store import samples
from farm.types import Attempt, Frozen

router = APIRouter(prefix="/jobs", tags=["jobs"])


class JobSamples(Frozen):
    """In measured order."""

    latency_seconds: list[float]
    warmup_seconds: list[float]


@router.get("/{job_id}/samples", responses=documented(NotFoundError))
def job_samples(job_id: Id, farm: Farm, caller: Reader) -> JobSamples:
    with farm.store.reading() as reading:
        job = reading.job(job_id)
        blob = reading.samples_blob(job_id)
    if blob is None:
        raise NotFoundError(f"Job {job_id} has no samples: it is {job.state}.", remedy="Wait for its result.")
    with farm.artifacts.open(blob.sha256) as file:
        stored = samples.read(file.read())
    return JobSamples(latency_seconds=stored.measured_seconds, warmup_seconds=stored.warmup_seconds)


@router.get("/{job_id}/attempts", responses=documented(NotFoundError))
def attempts(job_id: Id, farm: Farm, caller: Reader) -> list[Attempt]:
    """The oldest first."""
    with farm.store.reading() as reading:
        reading.job(job_id)
        return reading.attempts_of(job_id)
