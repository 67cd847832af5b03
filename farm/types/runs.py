"""What is measured (scenario) and how (protocol), and the runs, jobs and attempts that do it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from farm.types.base import Blob, Frozen, Name, Sha256
from farm.types.failure import Failure
from farm.types.models import CustomOperators
from farm.types.recipes import Recipe
from farm.types.steps import Step

# What a native tool can have a program run on, beside the CPU.
Accelerator = Literal["cpu", "gpu", "npu"]
Cores = Literal["big", "mid", "little", "all"]


class Scenario(Frozen):
    """What is measured. ``single-stream`` (MLPerf's name): one request after the other.

    ``accelerator``, ``tool``: anything but ``cpu`` goes through somebody else's benchmark program, a native tool, which
    the device must have for the recipe's runtime; ``tool`` names one, also for the CPU as an independent check
    (docs/native-tools.md).

    ``batch``: samples per request, for artifacts that take any number (``farm.dynamic_batch()``); an artifact built for
    a batch of its own size is measured with that. ``cores``: of which cluster (docs/measuring.md); without it, as many
    as there are threads, the highest numbers, which are a phone's fastest. May be written
    ``Scenario("single-stream", threads=2)``.
    """

    name: Literal["single-stream"] = "single-stream"
    threads: int = Field(default=1, ge=1, le=256)
    accelerator: Accelerator = "cpu"
    tool: Name | None = None
    batch: int = Field(default=1, ge=1, le=1024)
    cores: Cores | None = None

    def __init__(self, name: str = "single-stream", **fields: Any) -> None:
        super().__init__(**{"name": name, **fields})

    def __str__(self) -> str:
        words = [self.name, f"{self.threads}t"]
        if self.cores:
            words.append(self.cores)
        if self.batch > 1:
            words.append(f"b{self.batch}")
        if self.accelerator != "cpu":
            words.append(self.accelerator)
        if self.tool:
            words.append(self.tool)
        return "/".join(words)

    @property
    def native(self) -> bool:
        """Whether a native tool measures it, not the farm's own harness."""
        return self.tool is not None or self.accelerator != "cpu"


class Protocol(Frozen):
    """How: warm-up, stop rule, time-out. The stop rule ends a measurement once the confidence interval of
    the median is within ±``target_half_width_ratio`` and the minima are met, or when ``max_seconds`` are spent (then
    the verdict says so). 100 samples leave room for the interval of a p95, which needs 72 independent ones.
    ``evaluation_max_seconds`` are for the labelled set, which is run afterwards: they come on top of the time-out.

    Afterwards, inferences go on for at most ``growth_seconds`` to see whether memory grows (0: they do not).
    ``profile``: last of all, some more are run with the runtime's profiler.

    ``idle_seconds``: how long the device rests before and after, so that its own power can be told from the model's;
    only where energy can be measured at all, and on top of the time-out.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    min_warmup_seconds: float = Field(default=0.5, ge=0)
    min_warmup_runs: int = Field(default=3, ge=1)
    min_samples: int = Field(default=100, ge=10)
    min_seconds: float = Field(default=0.3, ge=0)
    max_samples: int = Field(default=20_000, ge=10)
    max_seconds: float = Field(default=10.0, gt=0)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    target_half_width_ratio: float = Field(default=0.02, gt=0, lt=1)
    timeout_seconds: float = Field(default=300.0, gt=0)
    evaluation_max_seconds: float = Field(default=300.0, gt=0)
    growth_seconds: float = Field(default=3.0, ge=0)
    profile: bool = False
    idle_seconds: float = Field(default=30.0, ge=0, le=600)

    @model_validator(mode="after")
    def _consistent(self) -> Protocol:
        if self.max_samples < self.min_samples:
            raise ValueError(f"max_samples={self.max_samples} is below min_samples={self.min_samples}")
        if self.timeout_seconds <= self.max_seconds:
            raise ValueError(f"timeout_seconds={self.timeout_seconds} must exceed max_seconds={self.max_seconds}")
        return self


# At each device, jobs of a higher priority go first.
Priority = Literal["interactive", "normal", "nightly"]


class RunSpec(Frozen):
    """``keep_unable``: a job whose device lacks the recipe's runtime is kept, and ends with that as its reason once
    its artifact is built; otherwise such a submission is refused."""

    model: str  # id, unique prefix of an id, or name (the newest of that name)
    recipes: tuple[Recipe, ...] = Field(min_length=1, max_length=200)
    devices: str
    scenarios: tuple[Scenario, ...] = Field(default=(Scenario(),), min_length=1, max_length=50)
    protocol: Protocol = Protocol()
    name: str = Field(default="", max_length=200)
    priority: Priority = "normal"
    keep_unable: bool = False


class RunState(StrEnum):
    ACTIVE = "active"
    FINISHED = "finished"
    CANCELLED = "cancelled"


class JobState(StrEnum):
    WAITING = "waiting"  # for its artifact
    QUEUED = "queued"
    LEASED = "leased"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return self in (JobState.FINISHED, JobState.FAILED, JobState.CANCELLED)


class Job(Frozen):
    """One artifact, one device, one scenario. ``epoch`` counts attempts and fences late results.

    Where the selector left a choice (``any(n)``, ``one per KEY``), ``pool`` numbers the devices of the run to choose
    from: all jobs of one ``slot`` are measured on the same device of it, and may move to another one together.
    """

    id: int
    run_id: int
    recipe: Recipe
    build_key: Sha256
    reference_key: Sha256 | None = None  # the build that computes the reference outputs, where the upload had none
    device_id: Name
    scenario: Scenario
    state: JobState
    epoch: int = 0
    reason: str = ""
    failure: Failure | None = None
    pool: int | None = None
    slot: int = 0
    model_id: Sha256 | None = None  # of what is measured in turns with another version of the run's model

    @property
    def batch(self) -> int:
        return batch_of(self.recipe, self.scenario)

    @property
    def in_turns(self) -> bool:
        """Measured beside another version, as evidence of a regression: no part of the variant's history."""
        return self.model_id is not None


def batch_of(recipe: Recipe, scenario: Scenario) -> int:
    """Samples per inference."""
    return max(recipe.batch, scenario.batch)


class JobWait(Frozen):
    """Why a job waits. ``starts_in_seconds`` is an estimate from how long jobs took on its device so far; it is absent
    where that, or what else is in the way, cannot be told. ``live``: the coordinator says so now; otherwise it does
    not answer, and this is what it wrote down last."""

    job_id: int
    text: str
    starts_in_seconds: float | None
    live: bool


class Run(Frozen):
    id: int
    spec: RunSpec
    model_id: Sha256
    model_name: str
    state: RunState
    created_by: str
    created_at: datetime
    finished_at: datetime | None = None
    jobs: dict[JobState, int] = {}


class Lease(Frozen):
    """Everything an agent needs to measure one attempt. ``epoch`` is the fencing token."""

    attempt_id: int
    job_id: int
    epoch: int
    device_id: Name
    runtime: Name
    options: dict[str, str | int | float | bool] = {}
    files: tuple[Blob, ...]
    custom_operators: CustomOperators | None = None
    example_inputs: Blob
    parity_inputs: Blob
    reference_outputs: Blob
    scenario: Scenario
    batch: int = Field(default=1, ge=1)  # samples per inference
    protocol: Protocol
    ttl_seconds: float = Field(gt=0)
    evaluation_inputs: Blob | None = None
    evaluation_max_bytes: int = 0  # of the outputs
    preprocessing: tuple[Step, ...] = ()  # on the device, of ``raw_example``
    postprocessing: tuple[Step, ...] = ()
    raw_example: Blob | None = None

    @property
    def inputs(self) -> tuple[Blob, ...]:
        """All files that a device needs beside the artifact's."""
        given = (
            self.example_inputs,
            self.parity_inputs,
            self.reference_outputs,
            self.evaluation_inputs,
            self.raw_example,
        )
        return tuple(blob for blob in given if blob is not None)

    @property
    def timeout_seconds(self) -> float:
        extra_seconds = self.protocol.evaluation_max_seconds if self.evaluation_inputs else 0.0
        return self.protocol.timeout_seconds + extra_seconds


class Attempt(Frozen):
    """One try at a job: a device held for it, and how that ended. ``measurement`` is the raw record as a blob."""

    id: int
    job_id: int
    epoch: int
    device_id: Name
    agent: Name
    state: Literal["leased", "running", "finished", "failed", "cancelled", "superseded"]
    leased_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    failure: Failure | None = None
    measurement: Blob | None = None
