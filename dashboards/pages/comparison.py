"""Variants of a model side by side."""

from __future__ import annotations

from dashboards.parts import GOOD_IS_LITTLE, Page, Panel, Query
from dashboards.queries import CHOICES, P95, RATIO, geometric_mean, latest
from farm.metrics import catalogue
from farm.metrics.catalogue import Metric

_OF_VARIANT = {"variant": "Variant", "device_model": "Device model"}


def _mean(metric: Metric, *conditions: str) -> str:
    return geometric_mean(latest(metric, *conditions), *_OF_VARIANT)


def _plain(metric: Metric, how: str = "avg") -> str:
    return f"{how} by ({', '.join(_OF_VARIANT)}) ({latest(metric)})"


_LATENCY = Query(_mean(catalogue.LATENCY, P95), "p95 latency", "s")
_SIZE = Query(_plain(catalogue.ARTIFACT, "max"), "Artifact", "bytes")
_ACCURACY = Query(_plain(catalogue.ACCURACY), "Accuracy", "percentunit")
_ENERGY = Query(_mean(catalogue.ENERGY), "Energy", "joule")

PAGE = Page(
    uid="farm-run-comparison",
    title="Torchfarm / Run comparison",
    description="Which variant to ship on which device: the latest result of each in the chosen time.",
    variables=CHOICES,
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
            steps=GOOD_IS_LITTLE,
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
            steps=GOOD_IS_LITTLE,
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
