"""A sweep of a fleet whose truth is known, night by night through the store: what its coordinator would have written.

    python -m tests.integration.metrics.swept FOLDER DEVICES VARIANTS NIGHTS LAST NIGHT

writes one night and may be killed anywhere: begun again, it goes on where it was.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np

from farm.config import Settings
from farm.metrics.publications import of_result, of_run
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.store.transaction import JobChange, NewJob, Transaction
from farm.types import (
    Artifact,
    BuildReport,
    BuildState,
    Device,
    Estimate,
    Evaluation,
    Job,
    JobState,
    Model,
    NightState,
    Recipe,
    Result,
    RunState,
    Scenario,
    SweepSpec,
    Telemetry,
    UploadedModel,
)
from tests.unit.analysis.simulated import Fleet, Noise, fleet
from tests.values import blob, device, model_spec, recipe, result, run_spec, sha256

SWEEP = "nightly"
NIGHTS_NOISE = Noise(tails=8.0)
_RESULTS_AT_ONCE = 200
_RETRIED_NOISE = 0.002  # old and new in turns share the phone's state
_RUNTIMES = ("onnxruntime", "litert", "executorch")


@dataclass(frozen=True)
class World:
    """``last``: when its last night began. Every change for the worse came with a version of the model."""

    devices: int
    variants: int
    nights: int
    last: datetime

    @property
    def planted(self) -> dict[str, tuple[int, int, int]]:
        """Device, variant, and the first night of each."""
        ends = {"slower by 3 %": 10, "slower by 10 %": 6, "less accurate": 4, "missing": 2}
        return {
            name: ((3 + 2 * number) % self.devices, (4 + 2 * number) % self.variants, self.nights - back)
            for number, (name, back) in enumerate(ends.items())
        }

    @property
    def noisy(self) -> int:
        return (3 + 2 * len(self.planted)) % self.devices

    @cached_property
    def fleet(self) -> Fleet:
        made = fleet(self.devices, self.variants, self.nights, NIGHTS_NOISE, seed=7)
        wild = np.random.default_rng(8).standard_normal((self.variants, self.nights))
        made.seconds[self.noisy] *= np.exp(0.05 * wild)
        for name, factor in (("slower by 3 %", 1.03), ("slower by 10 %", 1.10)):
            phone, variant, first = self.planted[name]
            made.seconds[phone, variant, first:] *= factor
        phone, variant, first = self.planted["less accurate"]
        made.accuracy[phone, variant, first:] -= 0.03
        return made

    def version(self, night: int) -> str:
        return f"v{1 + sum(first <= night for _, _, first in self.planted.values())}"

    def silent(self, phone: int, variant: int, night: int) -> bool:
        return (phone, variant, night) == self.planted["missing"]

    def begin(self, night: int) -> datetime:
        return self.last - timedelta(days=self.nights - 1 - night)

    @property
    def recipes(self) -> list[Recipe]:
        return [recipe(f"variant-{number:02d}", _RUNTIMES[number % 3]) for number in range(self.variants)]

    def phone(self, number: int) -> Device:
        return device(
            f"phone-{number:04d}",
            platform="android",
            device_model=f"Phone {number % 5}",
            soc=f"SoC {number % 5}",
            virtual=True,
        )


def found(store: Store, world: World) -> None:
    """The sweep itself, and its fleet."""
    with store.transaction() as tx:
        for number in range(world.devices):
            tx.upsert_device(world.phone(number), world.begin(0))
        spec = SweepSpec(
            name=SWEEP, model=UploadedModel(ref="net"), recipes=tuple(world.recipes), devices="each", notify=()
        )
        tx.put_sweep(spec, "ada", world.begin(0), None, paused=False)


def pass_night(store: Store, artifacts: ArtifactStore, world: World, night: int) -> None:
    """All of it that is not there yet: its results some at a time, each batch with its history and its outbox."""
    run_id = _begun(store, artifacts, world, night)
    with store.reading() as reading:
        jobs = [job for job in reading.jobs(run_id) if job.state is JobState.WAITING or job.state is JobState.QUEUED]
    for start in range(0, len(jobs), _RESULTS_AT_ONCE):
        with store.transaction() as tx:
            for job in jobs[start : start + _RESULTS_AT_ONCE]:
                _measure(tx, world, night, job)
    with store.transaction() as tx:
        tx.set_run(run_id, RunState.FINISHED, world.begin(night) + timedelta(hours=2))
        if publication := of_run(tx.run(run_id)):
            tx.publish(publication, world.begin(night))


def _begun(store: Store, artifacts: ArtifactStore, world: World, night: int) -> int:
    begin, version = world.begin(night), world.version(night)
    with store.transaction() as tx:
        known = next((each for each in tx.nights(SWEEP) if each.due_at == begin), None)
        if known is not None and known.run_id is not None:
            return known.run_id
        model = tx.add_model(model_spec("net", program=blob(f"{version}.pt2")), "ada", begin)
        builds = {each.name: _build(tx, artifacts, model, version, each) for each in world.recipes}
        jobs = [
            NewJob(each, builds[each.name], None, world.phone(number).id, Scenario(threads=1))
            for number in range(world.devices)
            for each in world.recipes
        ]
        run = tx.add_run(run_spec(model=model.id, priority="nightly"), model, jobs, {}, "ada", begin)
        added = tx.add_night(SWEEP, begin, "schedule", "ada")
        assert added is not None
        running = {"run_id": run.id, "model_id": model.id, "version": version, "started_at": begin}
        tx.set_night(added.id, [NightState.WAITING], state=NightState.RUNNING, **running)
    return run.id


def _build(tx: Transaction, artifacts: ArtifactStore, model: Model, version: str, made: Recipe) -> str:
    key = sha256(f"{version}/{made.name}")
    if not tx.builds([key]):
        tx.add_run(run_spec(model=model.id), model, [], {key: made}, "ada", model.created_at)
        report = BuildReport(seconds=1.5, peak_rss_bytes=None, tool_versions={}, network_isolated=True)
        file = artifacts.put([key.encode()], "model.onnx")
        tx.set_build(key, BuildState.BUILT, Artifact(key=key, files=(file,), report=report))
    return key


def _measure(tx: Transaction, world: World, night: int, job: Job) -> None:
    phone, variant = _place(job)
    if world.silent(phone, variant, night):
        tx.set_jobs([JobChange(job.id, JobState.FAILED, "the phone did not answer")])
        return
    seconds = float(world.fleet.seconds[phone, variant, night])
    accuracy = float(world.fleet.accuracy[phone, variant, night])
    share = (phone * world.variants + variant) / (world.devices * world.variants)
    at = (world.begin(night) + timedelta(hours=2 * share)).replace(microsecond=0)
    made = _result(job, at, seconds, float(world.fleet.within[phone, variant, night]), accuracy)
    assert tx.add_result(made, blob(f"samples-{job.id}"))
    tx.publish(of_result(job, world.phone(phone), "net", made), at)
    tx.set_jobs([JobChange(job.id, JobState.FINISHED)])


def measure_again(store: Store, world: World, night: int) -> int:
    """Every job of the confirming runs that are under way: the truth of its version, on the phone as it is now; how
    many jobs."""
    count = 0
    with store.transaction() as tx:
        for run_id, run in tx.confirming_runs():
            if run is None or run.state is not RunState.ACTIVE:
                continue
            for job in tx.jobs(run_id):
                at = world.begin(night) + timedelta(hours=3, seconds=count)
                _measure_again(tx, world, job, tx.model(job.model_id or run.model_id), at)
                count += 1
            tx.set_run(run_id, RunState.FINISHED, world.begin(night) + timedelta(hours=4))
    return count


def _measure_again(tx: Transaction, world: World, job: Job, model: Model, at: datetime) -> None:
    phone, variant = _place(job)
    version = model.spec.program.name.removesuffix(".pt2")
    seconds, accuracy = 0.01, 0.75
    for name, factor in (("slower by 3 %", 1.03), ("slower by 10 %", 1.10)):
        seconds *= factor if _shows(world, name, phone, variant, version) else 1.0
    accuracy -= 0.03 if _shows(world, "less accurate", phone, variant, version) else 0.0
    wild = 0.05 if phone == world.noisy else _RETRIED_NOISE
    seconds *= float(np.exp(wild * np.random.default_rng(job.id).standard_normal()))
    made = _result(job, at, seconds, wild / 2, accuracy)
    assert tx.add_result(made, blob(f"samples-{job.id}"))
    tx.set_jobs([JobChange(job.id, JobState.FINISHED)])


def _shows(world: World, name: str, phone: int, variant: int, version: str) -> bool:
    where, which, first = world.planted[name]
    return (phone, variant) == (where, which) and int(version[1:]) >= int(world.version(first)[1:])


def _place(job: Job) -> tuple[int, int]:
    assert job.device_id is not None
    return int(job.device_id.removeprefix("phone-")), int(job.recipe.name.removeprefix("variant-"))


def _result(job: Job, at: datetime, seconds: float, error: float, accuracy: float) -> Result:
    def interval(value: float) -> Estimate:
        width = float(np.exp(1.96 * error))
        return Estimate(value=value, low=value / width, high=value * width)

    return result(
        job.id,
        latency_seconds={"p50": interval(seconds), "p95": interval(1.12 * seconds)},
        latency_mean_seconds=1.02 * seconds,
        load_seconds=12 * seconds,
        first_inference_seconds=3 * seconds,
        memory_peak_bytes=50_000_000,
        artifact_bytes=4_000_000,
        evaluation=Evaluation(
            task="classification",
            samples=1000,
            score="accuracy",
            metrics={"accuracy": accuracy},
            reference_metrics={"accuracy": 0.8},
            confidence=0.95,
        ),
        energy_joules=interval(2.1 * seconds),
        power_watts=Estimate(value=2.9, low=2.8, high=3.0),
        telemetry=Telemetry(
            temperature_start_celsius=30.0, temperature_max_celsius=38.0, cpu_frequency_limit_hertz=2e9
        ),
        measured_at=at,
    )


def main(arguments: Sequence[str]) -> None:
    folder, devices, variants, nights, last, night = arguments
    settings = Settings(state_dir=Path(folder))
    store = Store(settings.resolved_database_url)
    world = World(int(devices), int(variants), int(nights), datetime.fromisoformat(last))
    pass_night(store, ArtifactStore(settings.resolved_store_url), world, int(night))
    store.close()


if __name__ == "__main__":
    main(sys.argv[1:])
