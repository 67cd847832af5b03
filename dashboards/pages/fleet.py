"""All devices: states, batteries, noise, who is out of service and why."""

from __future__ import annotations

from dashboards.parts import Page, Panel, Query
from farm.metrics import catalogue

_STATE_COUNT = f"sum by (state) ({catalogue.DEVICE_STATE.name})"

PAGE = Page(
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
