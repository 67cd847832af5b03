"""What a device recorded (measurement), and what is concluded from it (result)."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from farm.types.base import Blob, Estimate, Frozen, Name
from farm.types.devices import Device
from farm.types.energy import PowerMethod, PowerRecord
from farm.types.evaluation import Evaluation
from farm.types.insight import LoadCost, MemoryCourse, MemorySeries, Profile
from farm.types.models import Filled
from farm.types.recipes import Artifact
from farm.types.runs import Job
from farm.types.tools import ToolReport


class Parity(Frozen):
    """Distance of the outputs on the device from PyTorch's, over ``samples`` inputs.

    ``top1_agreement`` is absent where the outputs are no rows of class scores, ``top5_agreement`` also where these are
    fewer than six.
    """

    samples: int
    max_abs_error: float
    max_rel_error: float
    reference_abs_max: float
    cosine: float
    snr_db: float
    top1_agreement: float | None = None
    top5_agreement: float | None = None


class Telemetry(Frozen):
    """What the device did meanwhile. A field is absent where it could not be read; ``absent`` says why.

    ``temperature_sensor``: whose temperature it is, where there are several. Of phones only: ``thermal_status_max``,
    0 (none) to 6 (shutdown); ``thermal_overridden``, somebody set that status by hand; ``cooling_devices`` that capped
    something; ``powered``, a charger fed it; ``sampler_cpu_ratio``, what reading all this took of one CPU.
    """

    background_cpu_ratio: float | None = None
    steal_ratio: float | None = None
    cpu_frequency_hertz_min: float | None = None
    cpu_frequency_hertz_max: float | None = None
    cpu_frequency_limit_hertz: float | None = None
    cpu_frequency_maximum_hertz: float | None = None
    temperature_start_celsius: float | None = None
    temperature_max_celsius: float | None = None
    temperature_sensor: str | None = None
    thermal_status_max: int | None = None
    thermal_overridden: bool | None = None
    cooling_devices: tuple[str, ...] = ()
    powered: bool | None = None
    sampler_cpu_ratio: float | None = None
    absent: dict[str, str] = {}


class Measurement(Frozen):
    """Raw record of one attempt, as the harness and the meters wrote it; ``simulated``: or as a model made it up.

    ``cpus_asked``: those it was to be pinned to, none where it was not. ``power``: None where ``absent["energy"]`` says
    why; a device of which nobody expects it says nothing. ``power_recorded``: it was tried, with its idle time.
    ``tool_report``: or as a native tool printed it. Then there may be no samples, and what only the harness measures is
    absent with the reason.
    """

    attempt_id: int
    job_id: int
    epoch: int
    latency_samples_seconds: tuple[float, ...]
    warmup_samples_seconds: tuple[float, ...]
    import_seconds: float | None
    load_seconds: float | None
    first_inference_seconds: float | None
    memory_baseline_bytes: int | None
    memory_peak_bytes: int | None
    parity: Parity | None
    non_finite_outputs: int | None
    stopped_by: Literal["interval", "time", "samples"]
    cpus_allowed: tuple[int, ...]
    runtime_versions: dict[str, str]
    telemetry: Telemetry
    started_at: datetime
    evaluation_outputs: Blob | None = None
    evaluation_seconds: float | None = None
    preprocess_samples_seconds: tuple[float, ...] = ()
    postprocess_samples_seconds: tuple[float, ...] = ()
    absent: dict[str, str] = {}
    simulated: bool = False
    batch: int = 1  # samples per inference
    emulated: str = ""  # an accelerator that was not there: outputs are right, times are not its
    memory_course: MemoryCourse | None = None
    memory_series: MemorySeries | None = None
    load_cost: LoadCost | None = None
    profile: Profile | None = None
    cpus_asked: tuple[int, ...] = ()
    niceness: int | None = None  # above 0: others on the device go first; None where nothing said so
    power: PowerRecord | None = None
    power_recorded: bool = False
    tool_report: ToolReport | None = None


class VerdictLevel(StrEnum):
    TRUSTED = "trusted"
    SUSPECT = "suspect"
    INVALID = "invalid"


class Reason(Frozen):
    """``level``: the best that the verdict can be because of it; a ``trusted`` one is only a note."""

    code: Name
    level: VerdictLevel
    text: str


class Verdict(Frozen):
    level: VerdictLevel
    reasons: tuple[Reason, ...] = ()


class Result(Frozen):
    """What a job concluded. Latencies are keyed ``"p50"``, ``"p90"``, ``"p95"``, ``"p99"``; they are those of one call,
    which takes ``batch`` samples.

    ``memory_growth_bytes`` is per 1,000 inferences. ``energy_joules`` is that of one call over what the idle device
    takes in the same time; ``power_watts`` of the whole device while it ran, ``idle_power_watts`` before and after.
    ``memory_growth_bytes`` is per 1,000 inferences. ``tool_report``: the figures are a native tool's; where it gave no
    samples, ``latency_seconds`` is empty and ``latency_mean_seconds`` what it printed.
    """

    job_id: int
    epoch: int
    latency_seconds: dict[str, Estimate]
    latency_mean_seconds: float | None
    confidence: float
    sample_count: int
    independent_sample_count: int | None = None  # serially correlated samples count as fewer
    import_seconds: float | None
    load_seconds: float | None
    first_inference_seconds: float | None
    memory_peak_bytes: int | None
    memory_over_baseline_bytes: int | None
    artifact_bytes: int
    parity: Parity | None
    evaluation: Evaluation | None = None
    evaluation_seconds: float | None = None  # of all its inferences, with what it takes to hand them over
    preprocess_seconds: Estimate | None = None  # median of the declared steps on the device, beside the latency
    postprocess_seconds: Estimate | None = None
    host_preprocess_seconds: float | None = None  # mean per sample where the model was uploaded from
    filled: tuple[Filled, ...] = ()  # what was missing in the model's inputs
    telemetry: Telemetry
    verdict: Verdict
    runtime_versions: dict[str, str] = {}
    absent: dict[str, str] = {}
    measured_at: datetime
    memory_course: MemoryCourse | None = None
    memory_growth_bytes: Estimate | None = None
    load_cost: LoadCost | None = None
    profile: Profile | None = None
    batch: int = 1
    energy_joules: Estimate | None = None
    power_watts: Estimate | None = None
    idle_power_watts: float | None = None
    energy_method: PowerMethod | None = None
    tool_report: ToolReport | None = None
    os_version: str | None = None  # of the device when it was measured; None in results from before it was kept

    @property
    def samples_per_second(self) -> float | None:
        """Throughput, one call after the other; None where there is no latency."""
        return self.batch / self.latency_mean_seconds if self.latency_mean_seconds else None


class JobOutcome(Frozen):
    """A job with all that is known of it: the row of a comparison."""

    job: Job
    device: Device
    artifact: Artifact | None = None
    result: Result | None = None
