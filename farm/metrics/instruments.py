"""Counters and histograms of the catalogue, as ``prometheus_client`` has them."""

from __future__ import annotations

from itertools import product

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from farm.metrics.catalogue import Metric

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each, which nobody asks for


def counter(metric: Metric, registry: CollectorRegistry, *values: tuple[str, ...]) -> Counter:
    """``values``: for each label those that can be. All are there from the start, at 0."""
    made = Counter(metric.name, metric.help, metric.labels, registry=registry)
    for labels in product(*values) if values else ():
        made.labels(*labels)
    return made


def histogram(metric: Metric, registry: CollectorRegistry, *values: tuple[str, ...]) -> Histogram:
    made = Histogram(
        metric.name, metric.help, metric.labels, unit=metric.unit, buckets=metric.buckets, registry=registry
    )
    for labels in product(*values) if values else ():
        made.labels(*labels)
    return made


def exposition(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """The text that a scraper with this ``Accept`` header wants, and its media type."""
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


def media_type(accept: str) -> str:
    """Of the text that a scraper with this ``Accept`` header wants."""
    return choose_encoder(accept)[1]


def is_openmetrics(media_type: str) -> bool:
    return media_type.startswith("application/openmetrics-text")
