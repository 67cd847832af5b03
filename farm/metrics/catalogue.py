"""Every metric of the farm: name, type, unit, labels and what it says. Everything else takes them from here.

python -m farm.metrics.catalogue docs/metrics.md    # writes the tables of that page anew
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["gauge", "counter", "histogram", "info"]
Origin = Literal["result", "run", "head", "coordinator", "agent"]

BEGIN, END = "<!-- catalogue: written by `python -m farm.metrics.catalogue` -->", "<!-- end of the catalogue -->"
_TITLES: dict[Origin, str] = {
    "result": "Pushed with every result",
    "run": "Pushed with every run that ended",
    "head": "Scraped from the head",
    "coordinator": "Scraped from the head, as long as its coordinator runs",
    "agent": "Scraped from the agents, through the head",
}


@dataclass(frozen=True)
class Metric:
    """``unit``: a base unit, as in the name; empty for plain numbers. ``labels``: in addition to those that all of its
    origin have. ``buckets``: upper bounds of a histogram. ``awaits``: why nothing has it yet; only the name is taken.
    """

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str
    origin: Origin
    buckets: tuple[float, ...] = ()
    awaits: str = ""

    @property
    def all_labels(self) -> tuple[str, ...]:
        return (*_COMMON.get(self.origin, ()), *self.labels)


RESULT_LABELS = ("device", "device_model", "soc", "platform", "model", "variant", "runtime", "scenario")
QUANTILES = {"p50": "0.5", "p90": "0.9", "p95": "0.95", "p99": "0.99"}  # as ``farm.types.Result`` names them
# Of a device, for people and alerts: exactly one at a time. "quarantined": its health is bad.
DEVICE_STATES = ("online", "leased", "offline", "maintenance", "quarantined")
_COMMON: dict[Origin, tuple[str, ...]] = {"result": RESULT_LABELS, "run": ("run_id",)}


def _result(name: str, unit: str, help: str, labels: tuple[str, ...] = ()) -> Metric:
    return Metric(f"farm_result_{name}", "gauge", unit, labels, help, "result")


LATENCY = _result("latency_seconds", "seconds", "Quantile of the latency of one inference.", ("quantile",))
LATENCY_MEAN = _result("latency_mean_seconds", "seconds", "Mean latency of one inference.")
LOAD = _result("load_seconds", "seconds", "Time to load the artifact.")
FIRST_INFERENCE = _result("first_inference_seconds", "seconds", "Time of the first inference after loading.")
THROUGHPUT = _result(
    "throughput_inferences_per_second", "", "Samples per second, one call after the other: batch / mean latency."
)
MEMORY_PEAK = _result("memory_peak_bytes", "bytes", "Largest resident memory of the process that measured.")
ENERGY = _result("energy_joules", "joules", "Energy of one inference, over what the idle device takes in that time.")
POWER = _result("power_watts", "watts", "Power of the whole device while it measured.")
TEMPERATURE_START = _result("temperature_start_celsius", "celsius", "Temperature when the measurement began.")
TEMPERATURE_MAX = _result("temperature_max_celsius", "celsius", "Highest temperature during the measurement.")
THROTTLED = _result("throttled", "", "1 if the verdict says that the device throttled, else 0.")
ACCURACY = _result("accuracy_ratio", "ratio", "Accuracy on the labelled set, from outputs of the device.")
ARTIFACT = _result("artifact_bytes", "bytes", "Size of the artifact.")
TRUSTED = _result("trusted", "", "1 if the verdict is `trusted`, else 0. Every result has it.")

RUN_FINISHED = Metric(
    "farm_run_finished_timestamp_seconds",
    "gauge",
    "seconds",
    ("trigger",),
    "When the run ended, in Unix time. `trigger`: its priority (`nightly` for sweeps).",
    "run",
)
RUN_DURATION = Metric(
    "farm_run_duration_seconds", "gauge", "seconds", (), "Time from the submission to the end of the run.", "run"
)
RUN_INFO = Metric(
    "farm_run_info",
    "info",
    "",
    ("commit",),
    "Which commit a run measured.",
    "run",
    awaits="the version that a night measured is told by its night, `farm sweep history`",
)

DEVICE_INFO = Metric(
    "farm_device_info",
    "info",
    "",
    ("device", "device_model", "soc", "platform", "abi", "os_version", "agent", "virtual"),
    "What a device is. `virtual`: `true` for simulated devices and emulators.",
    "head",
)
DEVICE_STATE = Metric(
    "farm_device_state",
    "gauge",
    "",
    ("device", "state"),
    f"1 for the state that the device is in, 0 for the others of {', '.join(DEVICE_STATES)}.",
    "head",
)
DEVICE_ONLINE = Metric("farm_device_online", "gauge", "", ("device",), "1 if its agent has the device, else 0.", "head")
DEVICE_TROUBLE = Metric(
    "farm_device_trouble_info",
    "info",
    "",
    ("device", "state", "reason"),
    "Why a device gets no jobs. Only of devices that get none.",
    "head",
)
LEASE_AGE = Metric(
    "farm_device_lease_age_seconds", "gauge", "seconds", ("device",), "How long the device is leased already.", "head"
)
RUNS = Metric("farm_runs", "gauge", "", ("state",), "Runs that are kept.", "head")
JOBS = Metric("farm_jobs", "gauge", "", ("state",), "Jobs of active runs.", "head")
QUEUE_JOBS = Metric("farm_queue_jobs", "gauge", "", ("platform",), "Jobs that are ready and wait for a device.", "head")
SWEEP_NIGHTS = Metric(
    "farm_sweep_nights", "gauge", "", ("sweep", "state"), "Nights of a sweep that are on record, by state.", "head"
)
REGRESSIONS = Metric(
    "farm_regressions",
    "gauge",
    "",
    ("sweep", "state"),
    "Regressions of a sweep that are on record, by state; also its missing results and noisy devices.",
    "head",
)
NOTICES = Metric(
    "farm_notices", "gauge", "", ("state",), "Notifications: `pending`, `sent`, or `dead` (given up).", "head"
)
OUTBOX_PENDING = Metric("farm_outbox_pending", "gauge", "", (), "Results and runs not pushed yet.", "head")
OUTBOX_DEAD = Metric(
    "farm_outbox_dead", "gauge", "", (), "Results and runs that were refused for good (`farm metrics status`).", "head"
)
OUTBOX_OLDEST = Metric(
    "farm_outbox_oldest_seconds", "gauge", "seconds", (), "Age of the oldest that was not pushed; 0 if none.", "head"
)
BUILD_CACHE = Metric(
    "farm_build_cache_requests_total",
    "counter",
    "",
    ("result",),
    "Builds that submissions asked for: `hit` if they were there, else `miss`.",
    "head",
)
HTTP_REQUESTS = Metric(
    "farm_http_requests_total",
    "counter",
    "",
    ("method", "route", "status"),
    "Requests that the API answered, by class of status.",
    "head",
)
HTTP_DURATION = Metric(
    "farm_http_request_duration_seconds",
    "histogram",
    "seconds",
    ("method", "route"),
    "Time until an answer began.",
    "head",
    buckets=(0.005, 0.01, 0.025, 0.1, 0.25, 1, 5),
)

RESULTS = Metric(
    "farm_results_total",
    "counter",
    "",
    ("status", "failure_kind"),
    "Jobs that ended: by verdict, or `failed` and whose fault it was. Exemplar: `job_id`.",
    "coordinator",
)
QUEUE_WAIT = Metric(
    "farm_queue_wait_seconds",
    "histogram",
    "seconds",
    (),
    "Time a ready job waited for its device. Exemplar: `job_id`.",
    "coordinator",
    buckets=(0.01, 0.1, 1, 5, 15, 60, 300, 900, 3600, 14400),
)
BUILD_DURATION = Metric(
    "farm_build_duration_seconds",
    "histogram",
    "seconds",
    ("runtime", "status"),
    "Time of a build, with its wait for a node. `status`: `built` or `failed`.",
    "coordinator",
    buckets=(1, 3, 10, 30, 100, 300, 900, 3600),
)
DECISION = Metric(
    "farm_scheduler_decision_seconds",
    "histogram",
    "seconds",
    (),
    "Time to take in one event and decide what follows.",
    "coordinator",
    buckets=(0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 1),
)

BATTERY = Metric("farm_device_battery_ratio", "gauge", "ratio", ("device",), "Charge of the battery, 0 to 1.", "agent")
TEMPERATURE = Metric(
    "farm_device_temperature_celsius", "gauge", "celsius", ("device", "sensor"), "Temperature now.", "agent"
)
THERMAL_STATUS = Metric(
    "farm_device_thermal_status", "gauge", "", ("device",), "Android's: 0 (none) to 6 (shutdown).", "agent"
)
FREQUENCY = Metric(
    "farm_device_cpu_frequency_hertz", "gauge", "hertz", ("device", "cluster"), "Clock of the CPUs now.", "agent"
)
DEVICE_ENERGY = Metric(
    "farm_device_energy_joules_total",
    "counter",
    "joules",
    ("device",),
    "Energy that the device took.",
    "agent",
    awaits="fuel gauges and power rails are read only while something is measured",
)
NOISE = Metric(
    "farm_device_noise_ratio",
    "gauge",
    "ratio",
    ("device",),
    "How far the median latency of one artifact differs from night to night, in 95 of 100 cases at most.",
    "head",
)

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))


def tables() -> str:
    """The catalogue as Markdown, one table an origin."""
    lines: list[str] = []
    for origin, title in _TITLES.items():
        metrics = [metric for metric in METRICS if metric.origin == origin]
        lines += [f"### {title}", ""]
        if common := _COMMON.get(origin):
            lines += [f"All have the labels {_code(common)}.", ""]
        lines += ["| metric | type | unit | labels | what it says |", "|---|---|---|---|---|"]
        for metric in metrics:
            said = f"{metric.help} *Not there yet: {metric.awaits}.*" if metric.awaits else metric.help
            lines.append(f"| `{metric.name}` | {metric.kind} | {metric.unit} | {_code(metric.labels)} | {said} |")
        lines.append("")
    return "\n".join(lines)


def with_tables(page: str) -> str:
    """The page with the tables between its two marks as they are now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_tables(path.read_text()))
