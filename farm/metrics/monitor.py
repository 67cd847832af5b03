"""What is counted as it happens: in the coordinator, and in the API."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import get_args

from prometheus_client import CollectorRegistry

from farm.errors import Fault
from farm.metrics import catalogue
from farm.metrics.instruments import counter, histogram
from farm.types import BuildState, JobState, VerdictLevel

_NO_FAILURE = "none"
STATUS_CLASSES = ("2xx", "3xx", "4xx", "5xx")


class CoordinatorMonitor:
    """``clock``: monotonic. Waits that began before this process did are not known, and not counted."""

    def __init__(self, runtimes: Iterable[str]) -> None:
        self.registry = CollectorRegistry()
        self._results = counter(catalogue.RESULTS, self.registry)
        for verdict in VerdictLevel:
            self._results.labels(verdict, _NO_FAILURE)
        for fault in get_args(Fault):
            self._results.labels("failed", fault)
        self._waits = histogram(catalogue.QUEUE_WAIT, self.registry)
        self._builds = histogram(catalogue.BUILD_DURATION, self.registry, tuple(sorted(runtimes)), ("built", "failed"))
        self._decisions = histogram(catalogue.DECISION, self.registry)
        self._queued_seconds: dict[int, float] = {}

    @contextmanager
    def deciding(self) -> Iterator[None]:
        began_seconds = time.perf_counter()
        yield
        self._decisions.observe(time.perf_counter() - began_seconds)

    def set_job(self, job_id: int, state: JobState, fault: Fault | None) -> None:
        """A job is in that state now."""
        if state is JobState.QUEUED:
            self._queued_seconds.setdefault(job_id, time.monotonic())
            return
        queued_seconds = self._queued_seconds.pop(job_id, None)
        if state is JobState.LEASED and queued_seconds is not None:
            self._waits.observe(time.monotonic() - queued_seconds, _job(job_id))
        elif state is JobState.FAILED:
            self._results.labels("failed", fault or _NO_FAILURE).inc(exemplar=_job(job_id))

    def result(self, job_id: int, verdict: VerdictLevel) -> None:
        self._results.labels(verdict, _NO_FAILURE).inc(exemplar=_job(job_id))

    def built(self, runtime: str, seconds: float, *, failed: bool) -> None:
        self._builds.labels(runtime, "failed" if failed else "built").observe(seconds)


class ApiMonitor:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = counter(catalogue.HTTP_REQUESTS, self.registry)
        self._durations = histogram(catalogue.HTTP_DURATION, self.registry)
        self._cache = counter(catalogue.BUILD_CACHE, self.registry, ("hit", "miss"))

    def expect(self, method: str, route: str) -> None:
        """There is such a route: its counters exist from now on, at 0."""
        for status in STATUS_CLASSES:
            self._requests.labels(method, route, status)
        self._durations.labels(method, route)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method, route, f"{status // 100}xx").inc()
        self._durations.labels(method, route).observe(seconds)

    def builds_asked(self, states: Iterable[BuildState | None]) -> None:
        """By a submission. None: it is not known yet."""
        for state in states:
            self._cache.labels("hit" if state is BuildState.BUILT else "miss").inc()


def _job(job_id: int) -> dict[str, str]:
    return {"job_id": str(job_id)}
