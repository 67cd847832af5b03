"""What is behind a single figure: why its job waits, the attempts at it, and its raw samples."""

from __future__ import annotations

from fastapi import APIRouter

from farm.errors import ConflictError, NotFoundError
from farm.server.auth import Reader
from farm.server.parameters import Id
from farm.server.problems import documented
from farm.server.resources import Farm
from farm.server.route import Route
from farm.server.waits import waits
from farm.store import samples
from farm.store.reading import WAITING_STATES
from farm.types import Attempt, Frozen, JobWait

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=Route)


class ThinnedSamples(Frozen):
    """What is left of samples that got too old: quantiles at every half percent, medians of 20 parts in measured
    order, and how many samples there were."""

    measured_count: int
    warmup_count: int
    quantiles_seconds: list[float]
    blocks_seconds: list[float]


class JobSamples(Frozen):
    """In measured order; empty where only ``thinned`` is left."""

    latency_seconds: list[float]
    warmup_seconds: list[float]
    thinned: ThinnedSamples | None = None


@router.get("/{job_id}/samples", responses=documented(NotFoundError))
def job_samples(job_id: Id, farm: Farm, caller: Reader) -> JobSamples:
    with farm.store.reading() as reading:
        job = reading.job(job_id)
        blob = reading.samples_blob(job_id)
    if blob is None:
        raise NotFoundError(f"Job {job_id} has no samples: it is {job.state}.", remedy="Wait for its result.")
    with farm.artifacts.open(blob.sha256) as file:
        stored = samples.read(file.read())
    left = ThinnedSamples(**stored.thinned._asdict()) if stored.thinned else None
    return JobSamples(latency_seconds=stored.measured_seconds, warmup_seconds=stored.warmup_seconds, thinned=left)


@router.get("/{job_id}/attempts", responses=documented(NotFoundError))
def attempts(job_id: Id, farm: Farm, caller: Reader) -> list[Attempt]:
    """The oldest first."""
    with farm.store.reading() as reading:
        reading.job(job_id)
        return reading.attempts_of(job_id)


@router.get("/{job_id}/wait", responses=documented(NotFoundError, ConflictError))
def wait(job_id: Id, farm: Farm, caller: Reader) -> JobWait:
    """Why the job has not started. `live` says whether the coordinator answered."""
    with farm.store.reading() as reading:
        job = reading.job(job_id)
    if job.state not in WAITING_STATES:
        raise ConflictError(f"Job {job_id} does not wait: it is {job.state}.", remedy="Look at the job itself.")
    return waits([job], farm.enquiry)[0]
