"""One device: heat, throttling, power, frequencies."""

from __future__ import annotations

from dashboards.parts import Page, Panel, Query
from dashboards.queries import P95
from farm.metrics import catalogue
from farm.metrics.catalogue import Metric

_DEVICE = 'device="$device"'


def _of_device(metric: Metric, *conditions: str, over: str = "1d") -> str:
    return f"avg by (variant) (last_over_time({metric.name}{{{','.join((_DEVICE, *conditions))}}}[{over}]))"


PAGE = Page(
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
