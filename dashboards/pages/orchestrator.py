"""The farm itself: queue, builds, API, outbox, scheduler."""

from __future__ import annotations

from dashboards.parts import GOOD_IS_LITTLE, Page, Panel, Query
from farm.metrics import catalogue
from farm.metrics.catalogue import Metric

_HIT = '{result="hit"}'


def _rate(metric: Metric, suffix: str = "", condition: str = "") -> str:
    return f"rate({metric.name}{suffix}{condition}[$__rate_interval])"


def _quantile(of: float, metric: Metric, *by: str) -> str:
    return f"histogram_quantile({of}, sum by ({', '.join(('le', *by))}) ({_rate(metric, '_bucket')}))"


PAGE = Page(
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
            steps=GOOD_IS_LITTLE,
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
            steps=GOOD_IS_LITTLE,
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
