"""The vocabulary of the farm as frozen pydantic models. They are also the wire format of the API.

One word per thing (docs/glossary.md). Durations are seconds, sizes bytes, temperatures degrees Celsius.
A value that could not be measured is absent, and ``Result.absent`` says why: null is not zero.
"""

from farm.types.base import Blob, DType, FileName, Frozen, Name, Sha256, TensorSpec, digest_of
from farm.types.devices import Device, DeviceFacts, DeviceState
from farm.types.failure import Failure
from farm.types.models import Model, ModelFormat, ModelSpec
from farm.types.recipes import (
    Artifact,
    Build,
    BuildReport,
    BuildRequest,
    BuildState,
    ParityLimits,
    Quantize,
    Recipe,
    RecipeInfo,
    Transform,
)
from farm.types.results import (
    Estimate,
    JobOutcome,
    Measurement,
    Parity,
    Reason,
    Result,
    Telemetry,
    Verdict,
    VerdictLevel,
)
from farm.types.runs import Attempt, Job, JobState, Lease, Priority, Protocol, Run, RunSpec, RunState, Scenario
from farm.types.wire import AgentEvent, AgentInfo, ClusterJoin, Event, HeadStarted, Problem, Role

__all__ = [
    "AgentEvent",
    "AgentInfo",
    "Artifact",
    "Attempt",
    "Blob",
    "Build",
    "BuildReport",
    "BuildRequest",
    "BuildState",
    "ClusterJoin",
    "DType",
    "Device",
    "DeviceFacts",
    "DeviceState",
    "Estimate",
    "Event",
    "Failure",
    "FileName",
    "Frozen",
    "HeadStarted",
    "Job",
    "JobOutcome",
    "JobState",
    "Lease",
    "Measurement",
    "Model",
    "ModelFormat",
    "ModelSpec",
    "Name",
    "Parity",
    "ParityLimits",
    "Priority",
    "Problem",
    "Protocol",
    "Quantize",
    "Reason",
    "Recipe",
    "RecipeInfo",
    "Result",
    "Role",
    "Run",
    "RunSpec",
    "RunState",
    "Scenario",
    "Sha256",
    "Telemetry",
    "TensorSpec",
    "Transform",
    "Verdict",
    "VerdictLevel",
    "digest_of",
]
