"""Results on their way into a real Prometheus."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from farm.errors import InfrastructureError
from farm.metrics import catalogue
from farm.metrics.backfill import write
from farm.metrics.publisher import Publisher
from farm.metrics.reconciliation import publications, reconcile, republish
from farm.metrics.remotewrite import Endpoint, Refused
from farm.store.database import Store
from tests.integration.metrics.prometheus import Prometheus
from tests.integration.metrics.results import QUANTILES, add_results, forget_outbox, now, outbox_states

IN_PROMETHEUS = f"sum(count_over_time({catalogue.TRUSTED.name}[7d]))"
EVER = datetime(1970, 1, 1, tzinfo=UTC)


def endpoint(prometheus: Prometheus) -> Endpoint:
    return Endpoint(prometheus.write_url, prometheus.url)


def push_all(store: Store, to: Endpoint) -> None:
    publisher = Publisher(store, to)
    while publisher.push_some():
        pass


def test_a_result_arrives_with_its_own_time_and_labels(store: Store, prometheus: Prometheus) -> None:
    at = now() - timedelta(hours=2)
    add_results(store, [at])
    with endpoint(prometheus) as to:
        push_all(store, to)
    assert outbox_states(store) == {"pending": 0, "done": 2, "dead": 0}
    found = prometheus.query(f"{catalogue.LATENCY.name}[3h]")
    assert {series["metric"]["quantile"] for series in found} == {"0.5", "0.9", "0.95", "0.99"}
    (median,) = [series for series in found if series["metric"]["quantile"] == "0.5"]
    assert median["metric"] == {
        "__name__": "farm_result_latency_seconds",
        "device": "phone-0000",
        "device_model": "HAL 9000",
        "soc": "SM8650",
        "platform": "android",
        "model": "net",
        "variant": "variant-0",
        "runtime": "onnxruntime",
        "scenario": "single-stream/2t",
        "quantile": "0.5",
    }
    ((seconds, value),) = median["values"]
    assert seconds == pytest.approx(at.timestamp(), abs=1e-3)
    assert float(value) == pytest.approx(QUANTILES["p50"], rel=0.07)
    for metric in catalogue.METRICS:
        if metric.origin in ("result", "run") and not metric.awaits and metric is not catalogue.ACCURACY:
            (series, *_) = prometheus.query(f"last_over_time({metric.name}[3h])")
            assert set(series["metric"]) - {"__name__"} == set(metric.all_labels), metric.name


def test_the_same_result_twice_is_accepted_and_another_value_is_refused(store: Store, prometheus: Prometheus) -> None:
    add_results(store, [now()])
    with store.reading() as reading:
        rows = [publication for _, publication in reading.pending(10)]
    with endpoint(prometheus) as to:
        to.push(rows)
        to.push(rows)
        changed = rows[0].model_copy(update={"points": (rows[0].points[0].model_copy(update={"value": 0.5}),)})
        with pytest.raises(Refused, match="400"):
            to.push([changed])


def test_what_is_too_old_is_buried_with_the_reason_and_the_rest_of_its_batch_arrives(
    store: Store, prometheus: Prometheus
) -> None:
    recent = now() - timedelta(minutes=1)
    add_results(store, [recent])
    with endpoint(prometheus) as to:
        push_all(store, to)  # so that Prometheus knows what is recent
        old = [recent - timedelta(days=days) for days in (9, 20)]
        fresh = [recent - timedelta(seconds=seconds) for seconds in range(1, 41)]
        add_results(store, [*fresh[:20], *old, *fresh[20:]])
        push_all(store, to)
    assert outbox_states(store) == {"pending": 0, "done": 2 + 80, "dead": 4}
    with store.reading() as reading:
        assert all("too old" in entry.reason for entry in reading.outbox_entries("dead", 10))
        assert len(reading.refused_results(EVER, datetime.now(UTC))) == 2
    assert prometheus.count(IN_PROMETHEUS) == 41


def test_a_prometheus_that_is_killed_in_between_loses_nothing(store: Store, prometheus: Prometheus) -> None:
    begin = now() - timedelta(hours=1)
    count = add_results(store, [begin + timedelta(seconds=second) for second in range(30)], devices=10, variants=5)
    with endpoint(prometheus) as to:
        publisher = Publisher(store, to)
        assert publisher.push_some() == 500
        prometheus.kill()
        with pytest.raises(InfrastructureError, match="does not answer"):
            publisher.push_some()
        with store.reading() as reading:
            (oldest,) = reading.outbox_entries("pending", 1)
        assert "does not answer" in oldest.reason
        prometheus.start()
        push_all(store, to)
    assert outbox_states(store) == {"pending": 0, "done": 1530, "dead": 0}
    assert prometheus.count(IN_PROMETHEUS) == count == 1500


def test_what_prometheus_lacks_of_a_day_is_pushed_again(store: Store, prometheus: Prometheus) -> None:
    today = now().replace(hour=0, minute=0, second=0, microsecond=0)
    times = [today - timedelta(days=days, hours=-5) for days in (1, 2, 3)]
    add_results(store, times, devices=4)
    with endpoint(prometheus) as to:
        push_all(store, to)
        add_results(store, [times[1] + timedelta(minutes=1)], publish=False)  # as if it had been lost on its way
        assert reconcile(store, to, today + timedelta(minutes=5)) == []  # what was measured last may be on its way
        checks = reconcile(store, to, today + timedelta(hours=2))
        assert [(check.expected, check.found) for check in checks] == [(0, 0)] * 3 + [(4, 4), (5, 4), (4, 4)]
        assert reconcile(store, to, today + timedelta(hours=3)) == []  # once a day
        push_all(store, to)
        checks = reconcile(store, to, today + timedelta(days=1, hours=2))
        assert all(check.expected == check.found for check in checks)
    with store.reading() as reading:
        assert reading.day_checks(1) == [checks[-1]]


def test_one_sample_that_prometheus_lost_of_a_result_is_pushed_again(store: Store, prometheus: Prometheus) -> None:
    today = now().replace(hour=0, minute=0, second=0, microsecond=0)
    add_results(store, [today - timedelta(hours=5)], devices=3)
    with store.reading() as reading:
        rows = [publication for _, publication in reading.pending(10)]
    p99 = rows[1].points[3]
    assert p99.labels == {"quantile": "0.99"}
    rows[1] = rows[1].model_copy(update={"points": tuple(point for point in rows[1].points if point != p99)})
    with endpoint(prometheus) as to, store.transaction() as tx:
        to.push(rows)
        tx.settle([id for id, _ in tx.pending(10)])
    with endpoint(prometheus) as to:
        (*_, yesterday) = reconcile(store, to, today + timedelta(hours=2))
        assert (yesterday.expected, yesterday.found) == (3, 2)
        push_all(store, to)
        assert prometheus.count(f'count(last_over_time({p99.name}{{quantile="0.99"}}[7d]))') == 3
        (*_, yesterday) = reconcile(store, to, today + timedelta(days=1, hours=2))
        assert (yesterday.expected, yesterday.found) == (0, 0)


def test_a_backfilled_file_and_a_rebuilt_outbox_hold_the_same(
    store: Store, prometheus: Prometheus, tmp_path: Path
) -> None:
    old = now() - timedelta(days=40)
    add_results(store, [old, old + timedelta(minutes=1)], devices=3, publish=False)
    file = tmp_path / "results.om"
    with store.reading() as reading:
        written = write(publications(reading, EVER, datetime.now(UTC)), file)
    command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(file), str(prometheus.data)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    prometheus.kill()
    prometheus.start()
    after = (old + timedelta(hours=1)).timestamp()
    everything = prometheus.query('{__name__=~"farm_.+"}[1d]', after)
    assert sum(len(series["values"]) for series in everything) == written
    assert republish(store, EVER, datetime.now(UTC), now()) == 8
    with store.reading() as reading:
        assert sum(len(publication.points) for _, publication in reading.pending(100)) == written
    forget_outbox(store)


def test_an_answer_that_has_nothing_to_do_with_the_samples_is_tried_again(store: Store, prometheus: Prometheus) -> None:
    add_results(store, [now()])
    with Endpoint(f"{prometheus.url}/api/v1/no-such-route") as to:
        with pytest.raises(InfrastructureError, match="404"):
            Publisher(store, to).push_some()
    assert outbox_states(store) == {"pending": 2, "done": 0, "dead": 0}


def test_receipts_go_after_a_week(store: Store, prometheus: Prometheus) -> None:
    add_results(store, [now() - timedelta(days=6, hours=23)])
    with endpoint(prometheus) as to:
        push_all(store, to)
        publisher = Publisher(store, to)
        publisher._do_chores()
        assert outbox_states(store)["done"] == 2
    with store.transaction() as tx:
        assert tx.drop_receipts(datetime.now(UTC), 1000) == 2


def test_promtool_accepts_the_configuration(prometheus: Prometheus) -> None:
    done = subprocess.run(
        ["promtool", "check", "config", str(prometheus.config)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("rules found") == 2
    text = prometheus.config.read_text()
    assert "&" not in text  # with YAML aliases, Prometheus 2.42 asks the head without its token
    assert (prometheus.config.parent / "token").stat().st_mode & 0o077 == 0


def test_the_commands_on_a_farm(tmp_path: Path) -> None:
    made = Store(f"sqlite:///{tmp_path}/farm.db")
    made.migrate()
    add_results(made, [now() - timedelta(minutes=1)], devices=2, publish=False)

    def run(*arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "farm.cli.app", "metrics", *arguments, "--state-dir", str(tmp_path), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        parsed: dict[str, Any] = json.loads(done.stdout)
        return parsed

    assert run("status")["outbox"] == {"pending": 0, "done": 0, "dead": 0}
    assert run("rebuild") == {"queued": 3}
    assert run("rebuild", "--since", "2999-01-01") == {"queued": 0}
    with made.transaction() as tx:
        ((id, publication), *_) = tx.pending(2)
        tx.bury(id, "400: too old sample")
    found = run("status")
    assert found["outbox"] == {"pending": 2, "done": 0, "dead": 1}
    assert (found["dead"][0]["subject"], found["dead"][0]["reason"]) == (publication.subject, "400: too old sample")
    written = run("backfill", str(tmp_path / "results.om"))
    lines = (tmp_path / "results.om").read_text().splitlines()
    assert lines[-1] == "# EOF"
    assert sum(not line.startswith("#") for line in lines) == written["samples"] > 20
    made.close()
