"""The vocabulary of the farm as frozen pydantic models. They are also the wire format of the API.

One word per thing (docs/glossary.md). Durations are seconds, sizes bytes, temperatures degrees Celsius.
A value that could not be measured is absent, and ``Result.absent`` says why: null is not zero.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from farm.errors import FarmError, Fault, InternalError


def _inside(name: str) -> str:
    """Files are unpacked under their names: none may lead out of its folder."""
    if name in (".", ".."):
        raise ValueError(f"{name!r} is no file name")
    return name


Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[^/\\\x00-\x1f\x7f]{1,200}$"), AfterValidator(_inside)]
DType = Literal["float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"]


class Frozen(BaseModel):
    # JSON has no NaN; a model may well answer with one, and then its parity holds it.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


def digest_of(value: Any) -> str:
    """SHA-256 over the canonical JSON of ``value``: the same content always has the same digest."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# --- files and models --------------------------------------------------------------------------------


class Blob(Frozen):
    """A content-addressed file in the artifact store."""

    name: FileName
    sha256: Sha256
    size_bytes: int = Field(ge=0)

    @property
    def store_path(self) -> str:
        """Where a content-addressed folder keeps it, relative to its root."""
        return f"{self.sha256[:2]}/{self.sha256}"


class TensorSpec(Frozen):
    name: str
    shape: tuple[int, ...]
    dtype: DType

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


class ModelFormat(StrEnum):
    PT2 = "pt2"
    TORCHSCRIPT = "torchscript"
    ONNX = "onnx"


class ModelSpec(Frozen):
    """An uploaded PyTorch program with its example inputs.

    ``example_inputs``, ``parity_inputs`` and ``calibration_inputs`` are ``.npz`` files whose arrays are
    named ``"{sample}.{input}"`` (``"0.0"``, ``"0.1"``, ``"1.0"``, ...). ``reference_outputs`` holds what
    PyTorch answers to the parity inputs, named ``"{sample}.{output}"``; where it is missing, the farm
    computes it from the program itself.
    """

    name: Name
    format: ModelFormat
    program: Blob
    inputs: tuple[TensorSpec, ...]
    example_inputs: Blob
    parity_inputs: Blob
    reference_outputs: Blob | None = None
    calibration_inputs: Blob | None = None

    @property
    def id(self) -> str:
        """Content address: two uploads of the same files under the same name are one model."""
        return digest_of(self)


class Model(Frozen):
    id: Sha256
    spec: ModelSpec
    created_by: str
    created_at: datetime


# --- recipes and artifacts ---------------------------------------------------------------------------


class Quantize(Frozen):
    kind: Literal["quantize"] = "quantize"
    dtype: Literal["int8"] = "int8"
    static: bool = True


Transform = Quantize  # the union of transform kinds, discriminated by ``kind``


class ParityLimits(Frozen):
    """How far a variant may be from PyTorch. ``max_abs_error_ratio`` is relative to the largest |reference|."""

    min_cosine: float = Field(ge=-1, le=1)
    max_abs_error_ratio: float | None = Field(default=None, gt=0)


class Recipe(Frozen):
    """How to make a variant: ordered transforms, a runtime, and its options."""

    name: Name
    runtime: Name
    transforms: tuple[Transform, ...] = ()
    options: dict[str, str | int | float | bool] = {}
    parity: ParityLimits

    @property
    def digest(self) -> str:
        """Of what determines the artifact; the name and the limits do not."""
        return digest_of(self.model_dump(mode="json", exclude={"name", "parity"}))


class RecipeInfo(Frozen):
    """A preset, and whether it can be built and run here."""

    recipe: Recipe
    summary: str
    usable: bool
    missing: tuple[str, ...] = ()
    accepts: tuple[ModelFormat, ...]
    tool_versions: dict[str, str] = {}


class BuildState(StrEnum):
    PENDING = "pending"
    BUILDING = "building"
    BUILT = "built"
    FAILED = "failed"


class BuildReport(Frozen):
    seconds: float
    peak_rss_bytes: int | None
    tool_versions: dict[str, str]
    notes: tuple[str, ...] = ()
    network_isolated: bool


class Artifact(Frozen):
    """What a recipe built from a model. ``key`` is the hash of (model, recipe, tool versions)."""

    key: Sha256
    files: tuple[Blob, ...]
    report: BuildReport

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


class Build(Frozen):
    key: Sha256
    model_id: Sha256
    recipe: Recipe
    state: BuildState
    artifact: Artifact | None = None
    failure: Failure | None = None
    attempts: int = 0

    @property
    def built(self) -> Artifact:
        """The artifact of a build that is known to be built. Raises InternalError."""
        if self.artifact is None:
            raise InternalError(f"Build {self.key[:12]} is used before it is built.", remedy="Report this bug.")
        return self.artifact


class BuildRequest(Frozen):
    """What a build task gets: everything by content hash, nothing from the submitter's machine."""

    key: Sha256
    model: ModelSpec
    recipe: Recipe
    tool_versions: dict[str, str]
    store_url: str
    timeout_seconds: float = Field(gt=0)
    memory_bytes: int = Field(gt=0)


# --- devices -----------------------------------------------------------------------------------------


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


# --- what is measured and how ------------------------------------------------------------------------


class Scenario(Frozen):
    """What is measured. ``single-stream`` (MLPerf's name): one request after the other.

    May be written ``Scenario("single-stream", threads=2)``.
    """

    name: Literal["single-stream"] = "single-stream"
    threads: int = Field(default=1, ge=1, le=256)
    accelerator: Literal["cpu"] = "cpu"

    def __init__(self, name: str = "single-stream", **fields: Any) -> None:
        super().__init__(**{"name": name, **fields})

    def __str__(self) -> str:
        return f"{self.name}/{self.threads}t"


class Protocol(Frozen):
    """How: warm-up, stop rule, time-out. The stop rule ends a measurement once the confidence interval of
    the median is within ±``target_half_width_ratio``, or when ``max_seconds`` are spent (then the verdict says so).
    """

    model_config = ConfigDict(allow_inf_nan=False)

    min_warmup_seconds: float = Field(default=0.5, ge=0)
    min_warmup_runs: int = Field(default=3, ge=1)
    min_samples: int = Field(default=50, ge=10)
    max_samples: int = Field(default=20_000, ge=10)
    max_seconds: float = Field(default=10.0, gt=0)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    target_half_width_ratio: float = Field(default=0.02, gt=0, lt=1)
    timeout_seconds: float = Field(default=300.0, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Protocol:
        if self.max_samples < self.min_samples:
            raise ValueError(f"max_samples={self.max_samples} is below min_samples={self.min_samples}")
        if self.timeout_seconds <= self.max_seconds:
            raise ValueError(f"timeout_seconds={self.timeout_seconds} must exceed max_seconds={self.max_seconds}")
        return self


# --- runs and jobs -----------------------------------------------------------------------------------


class RunSpec(Frozen):
    model: str  # id, unique prefix of an id, or name (the newest of that name)
    recipes: tuple[Recipe, ...] = Field(min_length=1, max_length=200)
    devices: str
    scenarios: tuple[Scenario, ...] = Field(default=(Scenario(),), min_length=1, max_length=50)
    protocol: Protocol = Protocol()
    name: str = Field(default="", max_length=200)


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


class Failure(Frozen):
    """Why a build, attempt or job failed. Part of the result, never hidden."""

    fault: Fault
    code: str
    message: str
    remedy: str
    log_tail: str = ""

    @classmethod
    def of(cls, error: FarmError, log_tail: str = "") -> Failure:
        return cls(
            fault=error.fault, code=error.code, message=error.message, remedy=error.remedy, log_tail=log_tail[-4000:]
        )

    def __str__(self) -> str:
        return f"[{self.fault}] {self.message} {self.remedy}".rstrip()


class Job(Frozen):
    """One artifact, one device, one scenario. ``epoch`` counts attempts and fences late results."""

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


# --- measurements and results ------------------------------------------------------------------------


class Lease(Frozen):
    """Everything an agent needs to measure one attempt. ``epoch`` is the fencing token."""

    attempt_id: int
    job_id: int
    epoch: int
    device_id: Name
    runtime: Name
    options: dict[str, str | int | float | bool] = {}
    files: tuple[Blob, ...]
    example_inputs: Blob
    parity_inputs: Blob
    reference_outputs: Blob
    scenario: Scenario
    protocol: Protocol
    ttl_seconds: float = Field(gt=0)


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


class Parity(Frozen):
    """Distance of the outputs on the device from PyTorch's, over ``samples`` inputs.

    ``top1_agreement`` is absent where the outputs are no rows of class scores.
    """

    samples: int
    max_abs_error: float
    max_rel_error: float
    reference_abs_max: float
    cosine: float
    snr_db: float
    top1_agreement: float | None = None


class Telemetry(Frozen):
    """What the device did meanwhile. A field is absent where it could not be read; ``absent`` says why."""

    background_cpu_ratio: float | None = None
    steal_ratio: float | None = None
    cpu_frequency_hertz_min: float | None = None
    cpu_frequency_hertz_max: float | None = None
    cpu_frequency_limit_hertz: float | None = None
    cpu_frequency_maximum_hertz: float | None = None
    temperature_start_celsius: float | None = None
    temperature_max_celsius: float | None = None
    absent: dict[str, str] = {}


class Measurement(Frozen):
    """Raw record of one attempt, as the harness and the meters wrote it."""

    attempt_id: int
    job_id: int
    epoch: int
    latency_samples_seconds: tuple[float, ...]
    warmup_samples_seconds: tuple[float, ...]
    import_seconds: float
    load_seconds: float
    first_inference_seconds: float
    memory_baseline_bytes: int | None
    memory_peak_bytes: int | None
    parity: Parity | None
    non_finite_outputs: int
    stopped_by: Literal["interval", "time", "samples"]
    cpus_allowed: tuple[int, ...]
    runtime_versions: dict[str, str]
    telemetry: Telemetry
    started_at: datetime
    absent: dict[str, str] = {}


class Estimate(Frozen):
    """A figure with its confidence interval [low, high]."""

    value: float
    low: float
    high: float

    @property
    def half_width_ratio(self) -> float:
        return (self.high - self.low) / 2 / self.value if self.value else float("inf")


class VerdictLevel(StrEnum):
    TRUSTED = "trusted"
    SUSPECT = "suspect"
    INVALID = "invalid"


class Reason(Frozen):
    code: Name
    level: Literal[VerdictLevel.SUSPECT, VerdictLevel.INVALID]
    text: str


class Verdict(Frozen):
    level: VerdictLevel
    reasons: tuple[Reason, ...] = ()


class Result(Frozen):
    """What a job concluded. Latencies are keyed ``"p50"``, ``"p90"``, ``"p95"``, ``"p99"``."""

    job_id: int
    epoch: int
    latency_seconds: dict[str, Estimate]
    latency_mean_seconds: float
    confidence: float
    sample_count: int
    independent_sample_count: int | None = None  # serially correlated samples count as fewer
    import_seconds: float
    load_seconds: float
    first_inference_seconds: float
    memory_peak_bytes: int | None
    memory_over_baseline_bytes: int | None
    artifact_bytes: int
    parity: Parity | None
    telemetry: Telemetry
    verdict: Verdict
    runtime_versions: dict[str, str] = {}
    absent: dict[str, str] = {}
    measured_at: datetime


class JobOutcome(Frozen):
    """A job with all that is known of it: the row of a comparison."""

    job: Job
    device: Device
    artifact: Artifact | None = None
    result: Result | None = None


# --- events ------------------------------------------------------------------------------------------


class Event(Frozen):
    """One line of a run's event stream."""

    seq: int
    run_id: int
    at: datetime
    kind: Literal["build", "job", "run"]
    subject: str  # recipe name, job id, run id
    state: str
    text: str = ""


class Role(StrEnum):
    VIEWER = "viewer"
    USER = "user"
    AGENT = "agent"
    ADMIN = "admin"


class Problem(Frozen):
    """RFC 9457 problem document: how every error of the API looks."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    fault: Fault
    remedy: str
    details: dict[str, Any] = {}


class AgentInfo(Frozen):
    """What an agent says of itself. ``journal_id`` changes when its journal was lost."""

    name: Name
    host: str
    journal_id: str
    python_version: str
    devices: tuple[Device, ...]


class AgentEvent(Frozen):
    """One line of an agent's journal: delivered at least once, committed once, then acknowledged."""

    seq: int
    attempt_id: int
    epoch: int
    kind: Literal["started", "measured", "failed"]
    at: datetime
    measurement: Measurement | None = None
    failure: Failure | None = None


class HeadStarted(Frozen):
    """What ``farm up`` says once it is ready. ``token``: of a new admin, on the first start on a state folder."""

    url: str
    state_dir: str
    token: str | None = None


class ClusterJoin(Frozen):
    """What ``farm agent`` needs to join the Ray cluster of a head. Given to agents and admins only."""

    ray_address: str
    ray_token: str
    ray_version: str
    python_version: str


Build.model_rebuild()
