"""What Prometheus scrapes from the head."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import sqlalchemy as sa
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from farm.coordinator.scrape import Scrape
from farm.errors import InfrastructureError
from farm.metrics import catalogue
from farm.metrics.instruments import exposition
from farm.metrics.monitor import CoordinatorMonitor
from farm.store import tables
from farm.store.devices import DeviceChange
from farm.types import DeviceHealth, DeviceReadings, DeviceState, JobState, Role, SweepSpec, UploadedModel, VerdictLevel
from tests.integration.metrics.results import add_results, now
from tests.integration.server.conftest import LiveFarm
from tests.integration.server.test_routes import submit
from tests.values import device, recipe

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
READINGS = {
    "phone": DeviceReadings(
        battery_ratio=0.8,
        battery_celsius=31.5,
        thermal_status=0,
        temperatures_celsius={"skin": 33.0},
        cpu_hertz={"0-3": 1.8e9, "4-7": 2.4e9},
    ),
    "bare": DeviceReadings(),
}


def scrape(farm: LiveFarm, path: str = "/metrics", role: Role | None = Role.VIEWER, accept: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {farm.tokens[role]}"} if role else {}
    return httpx.get(farm.url + path, headers=headers | {"Accept": accept}, timeout=20, trust_env=False)


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def value(text: str, name: str, **labels: str) -> float | None:
    return samples(text).get((name, frozenset(labels.items())))


@contextmanager
def coordinator(
    farm: LiveFarm, monitor: CoordinatorMonitor, shown: dict[str, DeviceReadings] = READINGS
) -> Iterator[None]:
    """Only its socket. ``shown``: by the devices of the agent ``lab``."""
    up, down = threading.Event(), threading.Event()

    async def readings(agent: str) -> dict[str, DeviceReadings]:
        if agent != "lab":
            raise InfrastructureError(f"There is no agent {agent}.", remedy="Start it.")
        return shown

    async def serve() -> None:
        async with Scrape(farm.settings.state_dir).serve(
            lambda accept: exposition(monitor.registry, accept)[0], readings
        ):
            up.set()
            await asyncio.to_thread(down.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert up.wait(10)
        yield
    finally:
        down.set()
        thread.join(10)


def populate(farm: LiveFarm) -> None:
    at = datetime.now(UTC)
    spec = SweepSpec(name="every-night", model=UploadedModel(ref="net"), recipes=(recipe(),), devices="each")
    with farm.store.connected(writing=True) as connection:
        values = {"paused": False, "created_by": "ada", "created_at": at, "changed_at": at}
        connection.execute(sa.insert(tables.sweeps).values(name=spec.name, spec=spec, **values))
        night = {"due_at": at, "trigger": "schedule", "state": "skipped", "requested_by": "ada"}
        connection.execute(sa.insert(tables.nights).values(sweep=spec.name, **night))
    with farm.store.transaction() as tx:
        for name in ("online", "leased", "hot", "bad", "away", "out"):
            tx.upsert_device(device(name, platform="android"), at)
        tx.upsert_device(device("hot").model_copy(update={"blocked": "too hot"}), at)
        tx.set_noise({"hot": 0.021, "gone": 0.5})
        tx.set_devices(
            [
                DeviceChange("online", DeviceState.ONLINE, DeviceHealth.GOOD),
                DeviceChange("hot", DeviceState.ONLINE, DeviceHealth.GOOD),
                DeviceChange("leased", DeviceState.LEASED, DeviceHealth.GOOD),
                DeviceChange("bad", DeviceState.ONLINE, DeviceHealth.BAD, "adb does not answer"),
                DeviceChange("away", DeviceState.OFFLINE, DeviceHealth.GOOD),
                DeviceChange("out", DeviceState.MAINTENANCE, DeviceHealth.GOOD, maintenance="new battery"),
            ]
        )
        tx.hear_agent("lab", at)
        tx.hear_agent("gone", at - timedelta(days=2))


@pytest.mark.parametrize("path", ["/metrics", "/metrics/targets", "/metrics/agents/lab"])
def test_a_viewer_is_enough_and_nobody_is_not(standing_farm: LiveFarm, path: str) -> None:
    assert scrape(standing_farm, path, None).status_code == 401
    assert scrape(standing_farm, path, Role.AGENT).status_code == 403
    assert scrape(standing_farm, path, Role.VIEWER).status_code in (200, 503)


def test_every_metric_of_the_head_and_its_coordinator_is_there(farm: LiveFarm) -> None:
    farm.add_device()
    farm.add_model()
    submit(farm)
    populate(farm)
    with farm.store.transaction() as tx:
        job = tx.jobs(1)[0]
        tx.add_attempt(job.id, 1, "leased", "lab", datetime.now(UTC) - timedelta(seconds=90))
    monitor = CoordinatorMonitor(["onnxruntime"])
    with coordinator(farm, monitor):
        text = scrape(farm).text
    found = {sample.name for family in parse(text) for sample in family.samples}
    for metric in catalogue.METRICS:
        if metric.origin in ("head", "coordinator"):
            name = f"{metric.name}_count" if metric.kind == "histogram" else metric.name
            assert (name in found) is not bool(metric.awaits), metric.name
    assert {family.documentation for family in parse(text)} <= {metric.help for metric in catalogue.METRICS}
    age = value(text, "farm_device_lease_age_seconds", device="leased")
    assert age is not None
    assert 90 <= age < 120
    assert value(text, "farm_build_cache_requests_total", result="miss") == 2
    assert value(text, "farm_runs", state="active") == 1
    assert value(text, "farm_sweep_nights", sweep="every-night", state="skipped") == 1
    assert value(text, "farm_sweep_nights", sweep="every-night", state="failed") == 0
    assert value(text, "farm_regressions", sweep="every-night", state="confirmed") == 0
    assert value(text, "farm_notices", state="dead") == 0
    assert value(text, "farm_device_noise_ratio", device="hot") == 0.021
    assert value(text, "farm_device_noise_ratio", device="online") is None, "no night has told yet"


def test_the_states_of_devices_with_the_reason(farm: LiveFarm) -> None:
    populate(farm)
    text = scrape(farm).text
    states = {
        dict(labels)["device"]: dict(labels)["state"]
        for (name, labels), one in samples(text).items()
        if name == "farm_device_state" and one
    }
    assert states == {
        "online": "online",
        "hot": "online",
        "leased": "leased",
        "bad": "quarantined",
        "away": "offline",
        "out": "maintenance",
    }
    reasons = {
        dict(labels)["device"]: dict(labels)["reason"]
        for name, labels in samples(text)
        if name == "farm_device_trouble_info"
    }
    assert reasons == {
        "hot": "too hot",
        "bad": "adb does not answer",
        "away": "its agent does not have it",
        "out": "new battery",
    }


def test_counters_exist_at_zero_and_count(farm: LiveFarm) -> None:
    monitor = CoordinatorMonitor(["onnxruntime"])
    with coordinator(farm, monitor):
        before = scrape(farm).text
        for status, kind in (("trusted", "none"), ("failed", "device"), ("failed", "infrastructure")):
            assert value(before, "farm_results_total", status=status, failure_kind=kind) == 0
        assert value(before, "farm_build_duration_seconds_count", runtime="onnxruntime", status="failed") == 0
        assert value(before, "farm_http_requests_total", method="GET", route="/runs/{run_id}", status="2xx") == 0
        monitor.set_job(7, JobState.QUEUED, None)
        monitor.set_job(7, JobState.LEASED, None)
        monitor.result(7, VerdictLevel.TRUSTED)
        monitor.set_job(8, JobState.FAILED, "device")
        with farm.client() as http:
            assert http.get("/runs/999").status_code == 404
        after = scrape(farm, accept=OPENMETRICS).text  # another format: not the text that is kept for a second
    families = {family.name: family for family in parse_openmetrics(after)}
    exemplars = [sample.exemplar.labels for sample in families["farm_queue_wait_seconds"].samples if sample.exemplar]
    assert exemplars == [{"job_id": "7"}]
    counted = {
        (sample.labels["status"], sample.labels["failure_kind"]): (sample.value, sample.exemplar.labels)
        for sample in families["farm_results"].samples
        if sample.value
    }
    assert counted == {("trusted", "none"): (1, {"job_id": "7"}), ("failed", "device"): (1, {"job_id": "8"})}
    (missed,) = [
        sample.value
        for sample in families["farm_http_requests"].samples
        if sample.labels == {"method": "GET", "route": "/runs/{run_id}", "status": "4xx"}
    ]
    assert missed == 1


def test_what_agents_show_is_scraped_through_the_head(farm: LiveFarm) -> None:
    populate(farm)
    with coordinator(farm, CoordinatorMonitor([])):
        groups = scrape(farm, "/metrics/targets").json()
        paths = [group["labels"]["__metrics_path__"] for group in groups]
        assert paths == ["/metrics", "/metrics/agents/lab"]
        assert all(group["targets"] == [farm.url.removeprefix("http://")] for group in groups)
        text = scrape(farm, paths[1]).text
        assert scrape(farm, "/metrics/agents/other").status_code == 503
    assert samples(text) == {
        ("farm_device_battery_ratio", frozenset({("device", "phone")})): 0.8,
        ("farm_device_temperature_celsius", frozenset({("device", "phone"), ("sensor", "battery")})): 31.5,
        ("farm_device_temperature_celsius", frozenset({("device", "phone"), ("sensor", "skin")})): 33,
        ("farm_device_thermal_status", frozenset({("device", "phone")})): 0,
        ("farm_device_cpu_frequency_hertz", frozenset({("device", "phone"), ("cluster", "0-3")})): 1.8e9,
        ("farm_device_cpu_frequency_hertz", frozenset({("device", "phone"), ("cluster", "4-7")})): 2.4e9,
    }
    assert scrape(farm, "/metrics/agents/lab").status_code == 503  # the coordinator is away
    assert scrape(farm).status_code == 200


def test_the_outbox_is_seen(farm: LiveFarm) -> None:
    add_results(farm.store, [now() - timedelta(seconds=100)])
    text = scrape(farm).text
    assert value(text, "farm_outbox_pending") == 2
    oldest = value(text, "farm_outbox_oldest_seconds")
    assert oldest is not None
    assert 100 <= oldest < 130


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_wrong_with_it(farm: LiveFarm) -> None:
    populate(farm)
    with coordinator(farm, CoordinatorMonitor(["onnxruntime"])):
        for path in ("/metrics", "/metrics/agents/lab"):
            done = subprocess.run(
                ["promtool", "check", "metrics"],
                input=scrape(farm, path).content,
                capture_output=True,
                timeout=30,
                check=False,
            )
            assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), done
