"""The text of the head's metrics: the API's own, the database's, and the coordinator's."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from farm.coordinator.scrape import Scrape
from farm.metrics import families
from farm.metrics.families import Snapshot
from farm.metrics.instruments import exposition
from farm.metrics.monitor import ApiMonitor
from farm.store.database import Store
from farm.types import DeviceReadings

_KEPT_SECONDS = 1.0  # several scrapers cost no more than one
_END = b"# EOF\n"  # of OpenMetrics


class Exposition:
    """Safe in several threads: one makes the text, the others wait for it."""

    def __init__(self, monitor: ApiMonitor, store: Store, scrape: Scrape) -> None:
        self._registry, self._scrape = monitor.registry, scrape
        self._registry.register(_State(store))
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, bytes, str]] = {}  # by what is accepted: until when, text, media type

    def text(self, accept: str) -> tuple[bytes, str]:
        """For a scraper with this ``Accept`` header; with its media type. Raises InfrastructureError."""
        with self._lock:
            now = time.monotonic()
            self._kept = {accepted: kept for accepted, kept in self._kept.items() if kept[0] > now}
            if accept not in self._kept:
                content, media_type = exposition(self._registry, accept)
                theirs = self._scrape.own(accept) or b""
                if content.endswith(_END):
                    content, theirs = content.removesuffix(_END), theirs.removesuffix(_END)
                    theirs += _END
                self._kept[accept] = time.monotonic() + _KEPT_SECONDS, content + theirs, media_type
            _, content, media_type = self._kept[accept]
            return content, media_type


def of_readings(readings: Mapping[str, DeviceReadings], accept: str) -> tuple[bytes, str]:
    """Of an agent's devices, with its media type."""
    registry = CollectorRegistry()
    registry.register(_Readings(readings))
    return exposition(registry, accept)


class _Readings(Collector):
    def __init__(self, readings: Mapping[str, DeviceReadings]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Family]:
        return families.of_agent(self._readings)


class _State(Collector):
    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> list[Family]:
        return []  # nothing is asked of the database before the first scrape

    def collect(self) -> Iterator[Family]:
        with self._store.reading() as reading:
            oldest = reading.outbox_entries("pending", 1)
            snapshot = Snapshot(
                at=datetime.now(UTC),
                devices=reading.devices(),
                leased_since=reading.leased_since(),
                runs=reading.runs_by_state(),
                jobs=reading.jobs_by_state(),
                queued=reading.queued_by_device(),
                outbox=reading.outbox_counts(),
                outbox_since=oldest[0].queued_at if oldest else None,
            )
        return families.of_head(snapshot)
