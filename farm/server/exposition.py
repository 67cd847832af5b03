"""The text of the head's metrics: the API's own, the database's, and the coordinator's."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from farm.coordinator.scrape import Scrape
from farm.metrics import families, text
from farm.metrics.families import Snapshot
from farm.metrics.instruments import exposition, is_openmetrics, media_type
from farm.metrics.monitor import ApiMonitor
from farm.store.database import Store
from farm.types import DeviceReadings

_KEPT_SECONDS = 1.0  # several scrapers cost no more than one
_END = b"# EOF\n"  # of OpenMetrics


class Exposition:
    """Safe in several threads: one makes the text, the others wait for it."""

    def __init__(self, monitor: ApiMonitor, store: Store, scrape: Scrape) -> None:
        self._registry, self._store, self._scrape = monitor.registry, store, scrape
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, bytes, str]] = {}  # by what is accepted: until when, text, media type

    def text(self, accept: str) -> tuple[bytes, str]:
        """For a scraper with this ``Accept`` header; with its media type. Raises InfrastructureError."""
        with self._lock:
            now = time.monotonic()
            self._kept = {accepted: kept for accepted, kept in self._kept.items() if kept[0] > now}
            if accept not in self._kept:
                self._kept[accept] = time.monotonic() + _KEPT_SECONDS, *self._made(accept)
            _, content, kind = self._kept[accept]
            return content, kind

    def _made(self, accept: str) -> tuple[bytes, str]:
        counted, kind = exposition(self._registry, accept)
        openmetrics = is_openmetrics(kind)
        state = text.write(families.of_head(_snapshot(self._store)), openmetrics=openmetrics)
        theirs = self._scrape.own(accept) or b""
        end = _END if openmetrics else b""
        return counted.removesuffix(_END) + state + theirs.removesuffix(_END) + end, kind


def of_readings(readings: Mapping[str, DeviceReadings], accept: str) -> tuple[bytes, str]:
    """Of an agent's devices, with its media type."""
    kind = media_type(accept)
    openmetrics = is_openmetrics(kind)
    content = text.write(families.of_agent(readings), openmetrics=openmetrics)
    return content + (_END if openmetrics else b""), kind


def _snapshot(store: Store) -> Snapshot:
    with store.reading() as reading:
        oldest = reading.outbox_entries("pending", 1)
        return Snapshot(
            at=datetime.now(UTC),
            devices=reading.devices(),
            leased_since=reading.leased_since(),
            runs=reading.runs_by_state(),
            jobs=reading.jobs_by_state(),
            queued=reading.queued_by_device(),
            outbox=reading.outbox_counts(),
            outbox_since=oldest[0].queued_at if oldest else None,
            nights=reading.nights_by_state(),
            regressions=reading.regressions_by_state(),
            notices=reading.notices_by_state(),
        )
