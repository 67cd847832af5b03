"""A store with results in it, as the coordinator leaves them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from farm.metrics.publications import of_result, of_run
from farm.store import tables
from farm.store.database import Store
from farm.store.transaction import NewJob
from farm.types import Estimate, RunState, Scenario, Telemetry
from tests.values import blob, device, model_spec, recipe, result, run_spec, sha256

QUANTILES = {"p50": 0.010, "p90": 0.012, "p95": 0.013, "p99": 0.02}
TELEMETRY = Telemetry(
    temperature_start_celsius=30.0, temperature_max_celsius=41.5, cpu_frequency_limit_hertz=2e9, absent={}
)


def now() -> datetime:
    """To the millisecond, which is all that Prometheus keeps."""
    at = datetime.now(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def add_results(
    store: Store, times: Sequence[datetime], *, devices: int = 1, variants: int = 1, publish: bool = True, **fields: Any
) -> int:
    """One run of all devices and variants for each of ``times``, all results of which are of that time; how many."""
    count = 0
    for at in times:
        with store.transaction() as tx:
            names = [f"phone-{number:04d}" for number in range(devices)]
            for name in names:
                tx.upsert_device(device(name, platform="android", virtual=True), at)
            model = tx.add_model(model_spec(), "ada", at)
            recipes = [recipe(f"variant-{number}", "onnxruntime") for number in range(variants)]
            jobs = [
                NewJob(each, sha256(each.name), None, name, Scenario(threads=2)) for name in names for each in recipes
            ]
            run = tx.add_run(run_spec(), model, jobs, {sha256(each.name): each for each in recipes}, "ada", at)
            for job in tx.jobs(run.id):
                made = result(job.id, **measured(at, job.id) | fields)
                assert tx.add_result(made, blob(f"samples-{job.id}"))
                count += 1
                if publish:
                    tx.publish(of_result(job, device(job.device_id, platform="android"), model.spec.name, made), at)
            tx.set_run(run.id, RunState.FINISHED, at + timedelta(seconds=1))
            if publish and (publication := of_run(tx.run(run.id))):
                tx.publish(publication, at)
    return count


def measured(at: datetime, job_id: int) -> dict[str, Any]:
    latencies = {
        name: Estimate(value=seconds * (1 + job_id % 7 / 100), low=seconds * 0.9, high=seconds * 1.1)
        for name, seconds in QUANTILES.items()
    }
    return {
        "measured_at": at,
        "latency_seconds": latencies,
        "memory_peak_bytes": 50_000_000 + job_id,
        "energy_joules": Estimate(value=0.04, low=0.03, high=0.05),
        "power_watts": Estimate(value=4.0, low=3.9, high=4.1),
        "telemetry": TELEMETRY,
    }


def outbox_states(store: Store) -> dict[str, int]:
    with store.reading() as reading:
        return reading.outbox_counts()


def forget_outbox(store: Store) -> None:
    with store.transaction() as tx:
        tx._connection.execute(sa.delete(tables.outbox))
