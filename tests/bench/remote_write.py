"""How fast results get into a real Prometheus, whether any is lost when it is killed, and what a scrape costs.

    python -m tests.bench.remote_write

10,000 results (160,000 samples) of 1,000 devices wait. ``samples_per_second`` is the publisher's, database
and Prometheus included; in a second, equal round Prometheus is killed by SIGKILL in the middle, and what it lacks is
counted afterwards. The scrape is that of the API with the same devices.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

import httpx

from farm.config import Settings
from farm.errors import InfrastructureError
from farm.metrics import catalogue
from farm.metrics.publisher import Publisher
from farm.metrics.remotewrite import Endpoint
from farm.store.database import Store
from farm.types import Role
from tests.bench import report
from tests.integration.metrics.prometheus import Prometheus
from tests.integration.metrics.results import add_results, now
from tests.integration.server.conftest import serve

DEVICES, VARIANTS = 1_000, 10
REPEATS = 11
AWAY_SECONDS = 2.0


def push_all(publisher: Publisher) -> tuple[float, float]:
    """Seconds, and those of this process's CPU: the rest is Prometheus, and what else the machine does."""
    began, own_began = time.perf_counter(), time.process_time()
    while publisher.push_some():
        pass
    return time.perf_counter() - began, time.process_time() - own_began


def with_kill(publisher: Publisher, prometheus: Prometheus) -> None:
    for _ in range(DEVICES * VARIANTS // 1_000):
        publisher.push_some()
    prometheus.kill()
    until = time.monotonic() + AWAY_SECONDS
    while time.monotonic() < until:
        try:
            publisher.push_some()
        except InfrastructureError:
            time.sleep(0.1)
    prometheus.start()
    push_all(publisher)


def waiting_samples(store: Store) -> int:
    with store.reading() as reading:
        return sum(len(publication.points) for _, publication in reading.pending(DEVICES * VARIANTS + 1))


def pushing(folder: Path) -> dict[str, float]:
    store = Store(f"sqlite:///{folder}/farm.db")
    store.migrate()
    prometheus = Prometheus(folder)
    prometheus.start()
    try:
        first: datetime = now() - timedelta(hours=2)
        results = add_results(store, [first], devices=DEVICES, variants=VARIANTS)
        samples = waiting_samples(store)
        with Endpoint(prometheus.write_url, prometheus.url) as to:
            publisher = Publisher(store, to)
            seconds, own_seconds = push_all(publisher)
            results += add_results(store, [first + timedelta(minutes=30)], devices=DEVICES, variants=VARIANTS)
            with_kill(publisher, prometheus)
        found = prometheus.count(f"sum(count_over_time({catalogue.TRUSTED.name}[1d]))")
        series = prometheus.count('count(last_over_time({__name__=~"farm_.+"}[1d]))')
        with store.reading() as reading:
            dead = reading.outbox_counts()["dead"]
    finally:
        prometheus.kill()
        store.close()
    return {
        "samples": samples,
        "samples_per_second": samples / seconds,
        "samples_per_own_cpu_second": samples / own_seconds,
        "results": results,
        "lost_results": results - found,
        "dead_letters": dead,
        "series": series,
    }


def scraping(folder: Path) -> dict[str, float]:
    with serve(Settings(state_dir=folder)) as farm:
        add_results(farm.store, [now()], devices=DEVICES, variants=1)
        took = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            answer = httpx.get(
                f"{farm.url}/metrics",
                headers={"Authorization": f"Bearer {farm.tokens[Role.VIEWER]}"},
                timeout=60,
                trust_env=False,
            )
            took.append(time.perf_counter() - began)
            answer.raise_for_status()
            time.sleep(1.1)  # the answer is kept for a second
    return {
        "scrape_seconds": statistics.median(took),
        "scrape_max_seconds": max(took),
        "scrape_bytes": len(answer.content),
        "devices": DEVICES,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        figures = {**pushing(Path(one)), **scraping(Path(other))}
    print(report.table([("figure", "value"), *((key, float(value)) for key, value in figures.items())]))
    print(f"\nWritten to {report.write('remote_write', figures)}.")


if __name__ == "__main__":
    main()
