"""Nights of a virtual fleet in a store, as if they had passed: through the store's transactions, into its outbox."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from farm.metrics.publications import of_result, of_run
from farm.store.database import Store
from farm.store.transaction import NewJob
from farm.types import Device, Estimate, Evaluation, Job, Result, RunState, Scenario, Telemetry
from tests.values import blob, device, model_spec, recipe, result, run_spec, sha256

MODELS = (("Pixel 8", "Tensor G3", 0.010), ("Galaxy S24", "SM8650", 0.007), ("Redmi 12", "MT6769", 0.031))
VARIANTS = (
    ("fp32", "onnxruntime", 1.0, 0.765, 14_000_000),
    ("fp16", "onnxruntime", 0.7, 0.764, 7_100_000),
    ("int8", "litert", 0.45, 0.752, 3_900_000),
    ("int8-pruned", "executorch", 0.4, 0.741, 3_100_000),
)


@dataclass(frozen=True)
class Planted:
    """From the night so many before the last on, one device and variant. ``slower``: a factor; ``lost``: of the
    accuracy; ``silent``: no result."""

    device: str
    variant: str
    nights: int
    slower: float = 1.0
    lost: float = 0.0
    silent: bool = False


def fill(store: Store, last: datetime, nights: int, devices: int, planted: tuple[Planted, ...] = ()) -> int:
    """One nightly run a night, the last of which ends at ``last``; how many results."""
    chance = random.Random(7)  # noqa: S311 - the same nights each time
    fleet = [_phone(number) for number in range(devices)]
    return sum(
        _night(store, last - timedelta(days=back), fleet, [each for each in planted if back < each.nights], chance)
        for back in reversed(range(nights))
    )


def _phone(number: int) -> Device:
    device_model, soc, _ = MODELS[number % len(MODELS)]
    return device(f"phone-{number:04d}", platform="android", device_model=device_model, soc=soc, virtual=True)


def _night(store: Store, end: datetime, fleet: list[Device], planted: list[Planted], chance: random.Random) -> int:
    begin, count = end - timedelta(hours=2), 0
    with store.transaction() as tx:
        for phone in fleet:
            tx.upsert_device(phone, begin)
        model = tx.add_model(model_spec("mobilenet"), "ada", begin)
        recipes = {sha256(name): recipe(name, runtime) for name, runtime, *_ in VARIANTS}
        jobs = [
            NewJob(each, key, None, phone.id, Scenario(threads=2)) for phone in fleet for key, each in recipes.items()
        ]
        run = tx.add_run(run_spec(model="mobilenet", priority="nightly"), model, jobs, recipes, "ada", begin)
        found = tx.jobs(run.id)
        phones = {phone.id: (phone, MODELS[number % len(MODELS)][2]) for number, phone in enumerate(fleet)}
        for number, job in enumerate(found):
            mine = [each for each in planted if (each.device, each.variant) == (job.device_id, job.recipe.name)]
            if any(each.silent for each in mine):
                continue
            phone, seconds = phones[job.device_id]
            at = begin + (end - begin) * (number + 1) / (len(found) + 1)
            made = _result(job, at.replace(microsecond=0), seconds, mine, chance)
            assert tx.add_result(made, blob(f"samples-{job.id}"))
            tx.publish(of_result(job, phone, model.spec.name, made), at)
            count += 1
        tx.set_run(run.id, RunState.FINISHED, end)
        publication = of_run(tx.run(run.id))
        assert publication is not None
        tx.publish(publication, end)
    return count


def _result(job: Job, at: datetime, seconds: float, planted: list[Planted], chance: random.Random) -> Result:
    _, _, factor, accuracy, artifact_bytes = next(each for each in VARIANTS if each[0] == job.recipe.name)
    warmth = chance.uniform(-4, 6)  # of the room, in kelvin
    median = seconds * factor * (1 + warmth / 500) * chance.gauss(1, 0.006)
    for each in planted:
        median *= each.slower
        accuracy -= each.lost
    quantiles = {"p50": 1.0, "p90": 1.08, "p95": 1.12, "p99": 1.3}
    telemetry = Telemetry(
        temperature_start_celsius=30 + warmth,
        temperature_max_celsius=38 + warmth,
        cpu_frequency_limit_hertz=2e9,
    )
    metrics = {"accuracy": accuracy}
    evaluation = Evaluation(
        task="classification",
        samples=1000,
        score="accuracy",
        metrics=metrics,
        reference_metrics={"accuracy": 0.765},
        confidence=0.95,
    )
    return result(
        job.id,
        latency_seconds={
            name: Estimate(value=median * over, low=median * over * 0.99, high=median * over * 1.01)
            for name, over in quantiles.items()
        },
        latency_mean_seconds=median * 1.02,
        load_seconds=median * 12,
        first_inference_seconds=median * 3,
        memory_peak_bytes=artifact_bytes * 3 + 40_000_000,
        artifact_bytes=artifact_bytes,
        evaluation=evaluation,
        energy_joules=Estimate(value=median * 2.1, low=median * 2.0, high=median * 2.2),
        power_watts=Estimate(value=2.9, low=2.8, high=3.0),
        telemetry=telemetry,
        measured_at=at,
    )
