"""Every query of every dashboard, against a real Prometheus that was filled as in operation."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from farm.config import Settings
from farm.metrics import catalogue
from farm.metrics.monitor import CoordinatorMonitor
from farm.metrics.publisher import Publisher
from farm.metrics.remotewrite import Endpoint
from farm.store.database import Store
from farm.store.devices import DeviceChange
from farm.types import DeviceHealth, DeviceReadings, DeviceState, JobState, Role, VerdictLevel
from tests.integration.metrics.nights import Planted, fill
from tests.integration.metrics.prometheus import INSTALLED, Prometheus
from tests.integration.server.conftest import LiveFarm, serve
from tests.integration.server.test_metrics import coordinator

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not INSTALLED, reason="there is no prometheus on PATH")]

ROOT = Path(__file__).parents[3]
CHECKER = ROOT.parent / "shared" / "grafana" / "check_dashboard.py"
FILES = sorted((ROOT / "dashboards" / "json").glob("*.json"))
NIGHTS, DEVICES, VARIANTS = 30, 6, 4
PLANTED = (
    Planted("phone-0001", "int8", nights=2, slower=1.10),
    Planted("phone-0002", "fp16", nights=1, lost=0.03),
    Planted("phone-0003", "fp32", nights=1, silent=True),
)


READINGS = {
    f"phone-{number:04d}": DeviceReadings(
        battery_ratio=0.9 - number / 10,
        battery_celsius=29.0 + number,
        thermal_status=0,
        temperatures_celsius={"skin": 32.0 + number, "soc": 41.0 + number},
        cpu_hertz={"0-3": 1.8e9, "4-7": 2.4e9},
    )
    for number in range(DEVICES)
}


@contextmanager
def filled(folder: Path) -> Iterator[Prometheus]:
    """Thirty nights pushed by the publisher as they came, and then the state of now, scraped twice from a head: once
    Prometheus has seen something of now, it takes nothing that is older than its window."""
    settings = Settings(state_dir=folder)
    store = Store(settings.resolved_database_url)
    store.migrate()
    prometheus = Prometheus(folder)
    try:
        prometheus.start()
        count = fill(store, datetime.now(UTC) - timedelta(hours=3), NIGHTS, DEVICES, PLANTED)
        _push(store, prometheus)
        assert prometheus.count(f"sum(count_over_time({catalogue.TRUSTED.name}[40d]))") == count
        assert count == NIGHTS * DEVICES * VARIANTS - 1
        prometheus.kill()
        _set_states(store)
        monitor = CoordinatorMonitor(["onnxruntime", "litert"])
        with serve(settings) as farm, coordinator(farm, monitor, READINGS):
            prometheus = Prometheus(folder, farm.url, farm.tokens[Role.VIEWER])
            prometheus.start()
            _work(farm, monitor, prometheus)
            yield prometheus
    finally:
        prometheus.kill()
        store.close()


def _push(store: Store, prometheus: Prometheus) -> None:
    with Endpoint(prometheus.write_url, prometheus.url) as to:
        publisher = Publisher(store, to)
        while publisher.push_some():
            pass
    with store.reading() as reading:
        assert reading.outbox_counts()["dead"] == 0


def _set_states(store: Store) -> None:
    good = DeviceHealth.GOOD
    with store.transaction() as tx:
        tx.set_devices(
            [DeviceChange(f"phone-{number:04d}", DeviceState.ONLINE, good) for number in range(3)]
            + [
                DeviceChange("phone-0003", DeviceState.OFFLINE, good),
                DeviceChange("phone-0004", DeviceState.ONLINE, DeviceHealth.BAD, "adb does not answer"),
                DeviceChange("phone-0005", DeviceState.LEASED, good),
            ]
        )
        tx.set_noise({"phone-0000": 0.008, "phone-0004": 0.14})
        job = next(job for job in tx.jobs(1) if job.device_id == "phone-0005")
        tx.add_attempt(job.id, 1, "phone-0005", "lab", datetime.now(UTC) - timedelta(seconds=90))
        tx.hear_agent("lab", datetime.now(UTC))


def _work(farm: LiveFarm, monitor: CoordinatorMonitor, prometheus: Prometheus) -> None:
    """Until rates can be told: Prometheus has seen counters twice."""
    deadline = time.monotonic() + 90
    for job_id in itertools.count(1):
        monitor.set_job(job_id, JobState.QUEUED, None)
        with monitor.deciding():
            monitor.set_job(job_id, JobState.LEASED, None)
        monitor.result(job_id, VerdictLevel.TRUSTED)
        monitor.built("litert", 2.0, failed=False)
        with farm.client() as http:
            assert http.get("/runs/1").is_success
        if prometheus.count(f"sum(rate({catalogue.RESULTS.name}[5m]))") > 0:
            return
        assert time.monotonic() < deadline
        time.sleep(1)


def test_every_query_finds_something_and_what_was_planted(tmp_path: Path) -> None:
    with filled(tmp_path) as prometheus:
        for page, title, found in (
            ("nightly-regressions", "Slower than usual", {("phone-0001", "int8")}),
            ("nightly-regressions", "Less accurate than usual", {("phone-0002", "fp16")}),
            ("nightly-regressions", "Missing last night", {("phone-0003", "fp32")}),
        ):
            (query,) = queries(page, title)
            series = prometheus.query(query)
            assert {(each["metric"]["device"], each["metric"]["variant"]) for each in series} == found, title
        for path in FILES:
            for panel in json.loads(path.read_text())["panels"]:
                for query in queries(path.stem, panel["title"]):
                    assert prometheus.query(query), (path.stem, panel["title"], query)
        if CHECKER.exists():
            pytest.importorskip("promql_parser")
            pytest.importorskip("jsonschema")
            for path in FILES:
                command = [sys.executable, str(CHECKER), str(path), prometheus.url]
                done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
                assert done.returncode == 0, done.stdout + done.stderr


def queries(page: str, title: str) -> list[str]:
    """Of a panel, as Grafana sends them with everything chosen."""
    document = json.loads((ROOT / "dashboards" / "json" / f"{page}.json").read_text())
    (panel,) = [each for each in document["panels"] if each["title"] == title]
    values = {"model": ".*", "platform": ".*", "device_model": ".*", "device": "phone-0000", "threshold": "1.05"}
    values |= {"__range": "30d", "__rate_interval": "5m"}
    return [re.sub(r"\$(\w+)", lambda found: values[found[1]], target["expr"]) for target in panel["targets"]]
