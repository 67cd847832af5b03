"""The five dashboards."""

from __future__ import annotations

from dashboards.parts import Page, Panel, Query
from dashboards.queries import (
    ACCURACY_DROP,
    NIGHT,
    P95,
    RATIO,
    TONIGHT,
    USUAL,
    geometric_mean,
    latest,
)
from farm.metrics import catalogue
from farm.metrics.catalogue import Metric

_RESULTS = (
    ("model", "Model", catalogue.TRUSTED.name),
    ("platform", "Platform", catalogue.TRUSTED.name),
    ("device_model", "Device model", catalogue.TRUSTED.name),
)
_OF_NIGHT = {"model": "Model", "variant": "Variant", "device": "Device", "scenario": "Scenario"}
_BY_NIGHT = ", ".join(_OF_NIGHT)
_OF_VARIANT = {"variant": "Variant", "device_model": "Device model"}
_GOOD_IS_LITTLE = (("green", None), ("red", 1.0))


def _mean(metric: Metric, *conditions: str) -> str:
    return geometric_mean(latest(metric, *conditions), *_OF_VARIANT)


def _plain(metric: Metric, how: str = "avg") -> str:
    return f"{how} by ({', '.join(_OF_VARIANT)}) ({latest(metric)})"


_LATENCY = Query(_mean(catalogue.LATENCY, P95), "p95 latency", "s")
_SIZE = Query(_plain(catalogue.ARTIFACT, "max"), "Artifact", "bytes")
_ACCURACY = Query(_plain(catalogue.ACCURACY), "Accuracy", "percentunit")
_ENERGY = Query(_mean(catalogue.ENERGY), "Energy", "joule")

RUN_COMPARISON = Page(
    uid="farm-run-comparison",
    title="Torchfarm / Run comparison",
    description="Which variant to ship on which device: the latest result of each in the chosen time.",
    variables=_RESULTS,
    runs=True,
    panels=(
        Panel(
            "stat",
            "Combinations",
            "Device, variant and scenario with a result in the chosen time.",
            "short",
            [Query(f"count({latest(catalogue.TRUSTED)})", "combinations")],
            6,
            4,
            instant=True,
        ),
        Panel(
            "stat",
            "Regressed",
            "Combinations whose p95 of last night is more than 5 % above the median of the two weeks before.",
            "short",
            [Query(f"count({RATIO} > 1.05) or vector(0)", "regressed")],
            6,
            4,
            instant=True,
            steps=_GOOD_IS_LITTLE,
        ),
        Panel(
            "stat",
            "Trusted",
            "Share of the latest results whose verdict is trusted.",
            "percentunit",
            [Query(f"avg({latest(catalogue.TRUSTED)})", "trusted")],
            6,
            4,
            instant=True,
            steps=(("red", None), ("yellow", 0.8), ("green", 0.95)),
        ),
        Panel(
            "stat",
            "Throttled",
            "Latest results during which the clock was capped.",
            "short",
            [Query(f"sum({latest(catalogue.THROTTLED)})", "throttled")],
            6,
            4,
            instant=True,
            steps=_GOOD_IS_LITTLE,
        ),
        Panel(
            "bargauge",
            "p95 latency by variant",
            "Geometric mean over the devices of the latest p95.",
            "s",
            [Query(geometric_mean(latest(catalogue.LATENCY, P95), "variant"), "{{variant}}")],
            6,
            10,
            instant=True,
        ),
        Panel(
            "xychart",
            "Latency against size",
            "One point a variant and device model: left and low is better.",
            "short",
            [_LATENCY, _SIZE],
            6,
            10,
            instant=True,
            columns=_OF_VARIANT,
        ),
        Panel(
            "xychart",
            "Latency against accuracy",
            "One point a variant and device model: left and high is better.",
            "short",
            [_LATENCY, _ACCURACY],
            6,
            10,
            instant=True,
            columns=_OF_VARIANT,
        ),
        Panel(
            "xychart",
            "Latency against energy",
            "One point a variant and device model: left and low is better.",
            "short",
            [Query(f"{_LATENCY.promql} and {_ENERGY.promql}", "p95 latency", "s"), _ENERGY],
            6,
            10,
            instant=True,
            columns=_OF_VARIANT,
        ),
        Panel(
            "table",
            "Variants",
            "The latest results, over the devices of a model: geometric means of times, largest memory.",
            "short",
            [
                Query(_mean(catalogue.LATENCY, 'quantile="0.5"'), "p50 latency", "s"),
                _LATENCY,
                Query(_plain(catalogue.THROUGHPUT), "Samples per second", "short"),
                Query(_mean(catalogue.LOAD), "Load", "s"),
                Query(_plain(catalogue.MEMORY_PEAK, "max"), "Peak memory", "bytes"),
                _SIZE,
                _ENERGY,
                _ACCURACY,
                Query(_plain(catalogue.TRUSTED), "Trusted", "percentunit"),
            ],
            24,
            10,
            instant=True,
            columns=_OF_VARIANT,
        ),
    ),
)

_CHANGE_STEPS = (("blue", None), ("green", -0.03), ("yellow", 0.03), ("orange", 0.05), ("red", 0.10))
_MISSING = f"{USUAL} unless {TONIGHT}"

NIGHTLY = Page(
    uid="farm-nightly-regressions",
    title="Torchfarm / Nightly regressions",
    description=f"Last night (the results of {NIGHT}) against the median of two weeks, offset by two days.",
    variables=_RESULTS,
    choices=(("threshold", "p95 over usual", ("1.05", "1.03", "1.10", "1.20")),),
    runs=True,
    panels=(
        Panel(
            "stat",
            "Slower",
            "Combinations whose p95 is above the threshold.",
            "short",
            [Query(f"count({RATIO} > $threshold) or vector(0)", "slower")],
            6,
            4,
            instant=True,
            steps=_GOOD_IS_LITTLE,
        ),
        Panel(
            "stat",
            "Less accurate",
            "Combinations that lost more than one percentage point of accuracy.",
            "short",
            [Query(f"count({ACCURACY_DROP} > 0.01) or vector(0)", "less accurate")],
            6,
            4,
            instant=True,
            steps=_GOOD_IS_LITTLE,
        ),
        Panel(
            "stat",
            "Missing",
            "Combinations that had results in the two weeks before and have none of last night.",
            "short",
            [Query(f"count({_MISSING}) or vector(0)", "missing")],
            6,
            4,
            instant=True,
            steps=(("green", None), ("orange", 1.0)),
        ),
        Panel(
            "stat",
            "Results of last night",
            "Combinations measured last night.",
            "short",
            [Query(f"count({TONIGHT}) or vector(0)", "results")],
            6,
            4,
            instant=True,
        ),
        Panel(
            "state-timeline",
            "Change of p95 by night",
            "The largest change among the devices of a variant, against the median of the two weeks before that night.",
            "percentunit",
            [Query(f"max by (model, variant) ({RATIO}) - 1", "{{model}} {{variant}}")],
            24,
            9,
            daily=True,
            steps=_CHANGE_STEPS,
            decimals=1,
        ),
        Panel(
            "table",
            "Slower than usual",
            "p95 of last night over the usual one, where it is above the threshold.",
            "percentunit",
            [Query(f"max by ({_BY_NIGHT}) ({RATIO} > $threshold) - 1", "Slower by", "percentunit")],
            8,
            9,
            instant=True,
            columns=_OF_NIGHT,
            nothing="Nothing is slower than usual",
        ),
        Panel(
            "table",
            "Less accurate than usual",
            "Accuracy lost against the median of the two weeks before, where it is more than one percentage point.",
            "percentunit",
            [Query(f"max by ({_BY_NIGHT}) ({ACCURACY_DROP} > 0.01)", "Lost", "percentunit")],
            8,
            9,
            instant=True,
            columns=_OF_NIGHT,
            nothing="Nothing is less accurate than usual",
        ),
        Panel(
            "table",
            "Missing last night",
            "What had results in the two weeks before, with its usual p95.",
            "s",
            [Query(f"max by ({_BY_NIGHT}) ({_MISSING})", "Usual p95", "s")],
            8,
            9,
            instant=True,
            columns=_OF_NIGHT,
            nothing="Nothing is missing",
        ),
        Panel(
            "timeseries",
            "Mean change of p95 by night",
            "Geometric mean over the devices of a variant, against what is usual for each.",
            "percentunit",
            [Query(f"{geometric_mean(RATIO, 'model', 'variant')} - 1", "{{model}} {{variant}}")],
            24,
            9,
            daily=True,
        ),
    ),
)

_DEVICE = 'device="$device"'


def _of_device(metric: Metric, *conditions: str, over: str = "1d") -> str:
    return f"avg by (variant) (last_over_time({metric.name}{{{','.join((_DEVICE, *conditions))}}}[{over}]))"


DEVICE = Page(
    uid="farm-device",
    title="Torchfarm / Device",
    description="One device: how warm it is, how it is clocked, and what that does to its results.",
    variables=(("device", "Device", catalogue.DEVICE_INFO.name),),
    single=frozenset({"device"}),
    panels=(
        Panel(
            "table",
            "Device",
            "What it is.",
            "short",
            [
                Query(
                    f"max by (device_model, soc, platform, abi, os_version, agent, virtual) "
                    f"({catalogue.DEVICE_INFO.name}{{{_DEVICE}}})",
                )
            ],
            14,
            4,
            instant=True,
            columns={
                "device_model": "Model",
                "soc": "SoC",
                "platform": "Platform",
                "abi": "ABI",
                "os_version": "OS",
                "agent": "Agent",
                "virtual": "Virtual",
            },
        ),
        Panel(
            "stat",
            "Battery",
            "Charge of the battery.",
            "percentunit",
            [Query(f"max({catalogue.BATTERY.name}{{{_DEVICE}}})", "battery")],
            5,
            4,
            instant=True,
            steps=(("red", None), ("yellow", 0.2), ("green", 0.5)),
        ),
        Panel(
            "stat",
            "Thermal status",
            "Android's: 0 (none) to 6 (shutdown).",
            "short",
            [Query(f"max({catalogue.THERMAL_STATUS.name}{{{_DEVICE}}})", "status")],
            5,
            4,
            instant=True,
            steps=(("green", None), ("yellow", 1.0), ("red", 3.0)),
        ),
        Panel(
            "timeseries",
            "Temperature by sensor",
            "As its agent reads it.",
            "celsius",
            [Query(f"max by (sensor) ({catalogue.TEMPERATURE.name}{{{_DEVICE}}})", "{{sensor}}")],
            12,
        ),
        Panel(
            "timeseries",
            "Clock by cluster",
            "Clock of the CPUs as its agent reads it.",
            "hertz",
            [Query(f"max by (cluster) ({catalogue.FREQUENCY.name}{{{_DEVICE}}})", "{{cluster}}")],
            12,
        ),
        Panel(
            "timeseries",
            "Power",
            "While measuring each variant; and all the time, where the device counts its energy.",
            "watt",
            [
                Query(f"rate({catalogue.DEVICE_ENERGY.name}{{{_DEVICE}}}[$__rate_interval])", "device"),
                Query(_of_device(catalogue.POWER), "{{variant}}"),
            ],
            24,
        ),
        Panel(
            "timeseries",
            "p95 by night",
            "Of its variants.",
            "s",
            [Query(_of_device(catalogue.LATENCY, P95), "{{variant}}")],
            12,
            daily=True,
        ),
        Panel(
            "timeseries",
            "Temperature of measurements",
            "When they began, and the highest, over the variants of a night.",
            "celsius",
            [
                Query(f"avg({_of_device(catalogue.TEMPERATURE_START)})", "at the start"),
                Query(f"max({_of_device(catalogue.TEMPERATURE_MAX)})", "highest"),
            ],
            12,
            daily=True,
        ),
        Panel(
            "xychart",
            "p95 against start temperature",
            "One point a variant and night: a cloud that rises says that heat slows the device.",
            "short",
            [
                Query(_of_device(catalogue.TEMPERATURE_START), "Temperature at the start", "celsius"),
                Query(_of_device(catalogue.LATENCY, P95), "p95 latency", "s"),
            ],
            12,
            daily=True,
            columns={"variant": "Variant"},
            with_time=True,
        ),
        Panel(
            "state-timeline",
            "Throttled",
            "Share of the variants of a night during which the clock was capped.",
            "percentunit",
            [Query(f"avg({_of_device(catalogue.THROTTLED)})", "throttled")],
            12,
            daily=True,
            steps=(("green", None), ("orange", 0.01), ("red", 0.5)),
        ),
    ),
)

_STATE_COUNT = f"sum by (state) ({catalogue.DEVICE_STATE.name})"

FLEET = Page(
    uid="farm-fleet",
    title="Torchfarm / Fleet",
    description="How the devices are.",
    since="now-24h",
    refresh="30s",
    panels=(
        Panel(
            "stat",
            "Devices by state",
            "Each device is in exactly one state.",
            "short",
            [Query(_STATE_COUNT, "{{state}}")],
            18,
            4,
            instant=True,
        ),
        Panel(
            "stat",
            "Online",
            "Share of the devices that their agents have.",
            "percentunit",
            [Query(f"avg({catalogue.DEVICE_ONLINE.name})", "online")],
            6,
            4,
            instant=True,
            steps=(("red", None), ("yellow", 0.9), ("green", 0.98)),
        ),
        Panel("timeseries", "States", "Devices by state.", "short", [Query(_STATE_COUNT, "{{state}}")], 12),
        Panel(
            "timeseries",
            "Warmest devices",
            "The ten devices with the warmest sensor.",
            "celsius",
            [Query(f"topk(10, max by (device) ({catalogue.TEMPERATURE.name}))", "{{device}}")],
            12,
        ),
        Panel(
            "table",
            "Devices that get no jobs",
            "Offline, quarantined, taken out of service or blocked, with the reason.",
            "short",
            [Query(f"max by (device, state, reason) ({catalogue.DEVICE_TROUBLE.name})")],
            12,
            10,
            instant=True,
            columns={"device": "Device", "state": "State", "reason": "Reason"},
            nothing="All devices get jobs",
        ),
        Panel(
            "table",
            "Battery and temperature",
            "Now. What a device does not show is empty.",
            "short",
            [
                Query(f"max by (device) ({catalogue.BATTERY.name})", "Battery", "percentunit"),
                Query(f"max by (device) ({catalogue.TEMPERATURE.name})", "Warmest sensor", "celsius"),
                Query(f"max by (device) ({catalogue.THERMAL_STATUS.name})", "Thermal status", "short"),
                Query(f"max by (device) ({catalogue.LEASE_AGE.name})", "Leased for", "s"),
            ],
            12,
            10,
            instant=True,
            columns={"device": "Device"},
        ),
        Panel(
            "bargauge",
            "Noise floor",
            "How far repeated measurements of one artifact differ, of the ten noisiest devices.",
            "percentunit",
            [Query(f"topk(10, max by (device) ({catalogue.NOISE.name}))", "{{device}}")],
            24,
            instant=True,
        ),
    ),
)


_HIT = '{result="hit"}'


def _rate(metric: Metric, suffix: str = "", condition: str = "") -> str:
    return f"rate({metric.name}{suffix}{condition}[$__rate_interval])"


def _quantile(of: float, metric: Metric, *by: str) -> str:
    return f"histogram_quantile({of}, sum by ({', '.join(('le', *by))}) ({_rate(metric, '_bucket')}))"


ORCHESTRATOR = Page(
    uid="farm-orchestrator",
    title="Torchfarm / Orchestrator",
    description="The head: queue, builds, API, scheduler, and what waits to be pushed.",
    since="now-6h",
    refresh="30s",
    panels=(
        Panel(
            "stat",
            "Waiting jobs",
            "Jobs that are ready and wait for a device.",
            "short",
            [Query(f"sum({catalogue.QUEUE_JOBS.name})", "jobs")],
            6,
            4,
            instant=True,
        ),
        Panel(
            "stat",
            "Oldest in the outbox",
            "How long the oldest result waits to be pushed.",
            "s",
            [Query(f"max({catalogue.OUTBOX_OLDEST.name})", "oldest")],
            6,
            4,
            instant=True,
            steps=(("green", None), ("yellow", 300.0), ("red", 3600.0)),
        ),
        Panel(
            "stat",
            "Dead letters",
            "Results and runs that Prometheus refused for good (farm metrics status).",
            "short",
            [Query(f"max({catalogue.OUTBOX_DEAD.name})", "dead")],
            6,
            4,
            instant=True,
            steps=_GOOD_IS_LITTLE,
        ),
        Panel(
            "stat",
            "Targets that do not answer",
            "The head, its coordinator and agents, as Prometheus scrapes them.",
            "short",
            [Query('sum(up{job="farm"} == bool 0)', "away")],
            6,
            4,
            instant=True,
            steps=_GOOD_IS_LITTLE,
        ),
        Panel(
            "timeseries",
            "Queue",
            "Jobs that are ready and wait, by platform.",
            "short",
            [Query(f"sum by (platform) ({catalogue.QUEUE_JOBS.name})", "{{platform}}")],
            8,
        ),
        Panel(
            "timeseries",
            "Wait for a device",
            "Of jobs that were leased.",
            "s",
            [Query(_quantile(0.5, catalogue.QUEUE_WAIT), "p50"), Query(_quantile(0.95, catalogue.QUEUE_WAIT), "p95")],
            8,
        ),
        Panel(
            "timeseries",
            "Jobs by state",
            "Jobs of active runs.",
            "short",
            [Query(f"sum by (state) ({catalogue.JOBS.name})", "{{state}}")],
            8,
        ),
        Panel(
            "timeseries",
            "Jobs that ended",
            "By verdict, or failed.",
            "ops",
            [Query(f"sum by (status) ({_rate(catalogue.RESULTS)})", "{{status}}")],
            8,
        ),
        Panel(
            "timeseries",
            "Builds that were there already",
            "Share of the builds that submissions asked for.",
            "percentunit",
            [
                Query(
                    f"sum({_rate(catalogue.BUILD_CACHE, condition=_HIT)}) / sum({_rate(catalogue.BUILD_CACHE)})",
                    "hits",
                )
            ],
            8,
            maximum=1,
        ),
        Panel(
            "timeseries",
            "Time of builds",
            "p95 with the wait for a node, by runtime.",
            "s",
            [Query(_quantile(0.95, catalogue.BUILD_DURATION, "runtime"), "{{runtime}}")],
            8,
        ),
        Panel(
            "timeseries",
            "API latency",
            "Time until an answer began.",
            "s",
            [
                Query(_quantile(0.5, catalogue.HTTP_DURATION), "p50"),
                Query(_quantile(0.99, catalogue.HTTP_DURATION), "p99"),
            ],
            8,
        ),
        Panel(
            "timeseries",
            "API answers",
            "By class of status.",
            "reqps",
            [Query(f"sum by (status) ({_rate(catalogue.HTTP_REQUESTS)})", "{{status}}")],
            8,
        ),
        Panel(
            "timeseries",
            "Scheduler",
            "Time to take in one event and decide what follows.",
            "s",
            [Query(_quantile(0.5, catalogue.DECISION), "p50"), Query(_quantile(0.99, catalogue.DECISION), "p99")],
            8,
        ),
        Panel(
            "timeseries",
            "Outbox",
            "Results and runs that were not pushed yet.",
            "short",
            [Query(f"max({catalogue.OUTBOX_PENDING.name})", "pending")],
            12,
        ),
        Panel(
            "timeseries",
            "Age of the outbox",
            "Of the oldest that was not pushed.",
            "s",
            [Query(f"max({catalogue.OUTBOX_OLDEST.name})", "oldest")],
            12,
        ),
    ),
)

PAGES = {
    "run-comparison": RUN_COMPARISON,
    "nightly-regressions": NIGHTLY,
    "device": DEVICE,
    "fleet": FLEET,
    "orchestrator": ORCHESTRATOR,
}
