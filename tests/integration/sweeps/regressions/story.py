"""A sweep's nights in a store, as if a fleet had measured them: through the transactions that the farm uses."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from farm.config import Settings
from farm.store.artifacts import ArtifactStore
from farm.store.database import Store
from farm.store.transaction import JobChange, NewJob, Transaction
from farm.sweeps.confirmation import Confirmation
from farm.sweeps.examination import Examination
from farm.types import (
    AlertRule,
    Artifact,
    Baseline,
    BuildReport,
    BuildState,
    Estimate,
    Evaluation,
    Job,
    JobState,
    Model,
    NightState,
    Notice,
    Recipe,
    Regression,
    RegressionState,
    Result,
    RunState,
    Scenario,
    SweepSpec,
    UploadedModel,
)
from tests.values import blob, device, model_spec, recipe, result, run_spec, sha256

FIRST = datetime.fromisoformat("2026-03-01T02:00:00+00:00")
ONE_DAY = timedelta(days=1)


@dataclass
class Story:
    """``factor``: what the latency of a variant on a device is multiplied by, by version; ``lost``: of its accuracy.
    ``noise``: of a device, between measurements, relative."""

    store: Store
    artifacts: ArtifactStore
    settings: Settings
    devices: Sequence[str]
    variants: Sequence[str] = ("fp32", "int8")
    notify: tuple[str, ...] = ("team",)
    noise: Mapping[str, float] = field(default_factory=dict)
    factor: Callable[[str, str, str], float] = lambda version, variant, device: 1.0
    lost: Callable[[str, str, str], float] = lambda version, variant, device: 0.0
    silent: Callable[[int, str, str], bool] = lambda night, variant, device: False
    alerts: tuple[AlertRule, ...] = (
        AlertRule(metric="latency_p50", max_change_ratio=0.03),
        AlertRule(metric="accuracy", max_drop=0.01),
    )

    def __post_init__(self) -> None:
        self.chance = random.Random(7)  # noqa: S311 - the same nights each time
        self.night = 0
        self.recipes = {name: recipe(name, "onnxruntime") for name in self.variants}
        self.spec = SweepSpec(
            name="nightly",
            model=UploadedModel(ref="net"),
            recipes=tuple(self.recipes.values()),
            devices="each",
            notify=self.notify,
            alerts=self.alerts,
            baseline=Baseline(mode="window", nights=14),
        )
        with self.store.transaction() as tx:
            for name in self.devices:
                tx.upsert_device(device(name, platform="android", virtual=True), FIRST)
            tx.put_sweep(self.spec, "ada", FIRST, None, paused=False)

    @property
    def now(self) -> datetime:
        return FIRST + self.night * ONE_DAY

    def examine(self) -> None:
        """The night's results, in a process of its own as far as memory goes."""
        while Examination(self.store, self.settings).turn(self.now):
            pass

    def confirm(self, *, measure: bool = True) -> list[Job]:
        """What is measured once more is measured, and judged; its jobs."""
        jobs: list[Job] = []
        while Confirmation(self.store, self.artifacts, self.settings).turn(self.now):
            with self.store.transaction() as tx:
                for run_id, run in tx.confirming_runs():
                    if measure and run and run.state is RunState.ACTIVE:
                        jobs += tx.jobs(run_id)
                        self.measure(tx, run_id, self.now)
        return jobs

    def quiet_nights(self, count: int, version: str = "v1") -> None:
        for _ in range(count):
            self.pass_night(version)
            self.examine()
            self.confirm()

    def regressions(self, *states: RegressionState) -> list[Regression]:
        with self.store.reading() as reading:
            return reading.regressions(states=states, limit=None)[::-1]

    def notices(self) -> list[Notice]:
        with self.store.reading() as reading:
            return reading.notices(limit=500)[::-1]

    def pass_night(self, version: str) -> int:
        """A night with its results, whose run has ended; its id."""
        begin = FIRST + self.night * ONE_DAY
        with self.store.transaction() as tx:
            model = self._model(tx, version)
            jobs = [
                NewJob(self.recipes[name], self._build(tx, model, version, self.recipes[name]), None, phone, Scenario())
                for phone in self.devices
                for name in self.variants
            ]
            run = tx.add_run(run_spec(model=model.id, priority="nightly"), model, jobs, {}, "ada", begin)
            night = tx.add_night("nightly", begin, "schedule", "ada")
            assert night is not None
            tx.set_night(
                night.id,
                [NightState.WAITING],
                state=NightState.RUNNING,
                run_id=run.id,
                model_id=model.id,
                version=version,
                started_at=begin,
            )
            self.measure(tx, run.id, begin)
        self.night += 1
        return night.id

    def measure(self, tx: Transaction, run_id: int, begin: datetime) -> None:
        """All of a run, whose jobs say by their model which version they are of."""
        run = tx.run(run_id)
        for number, job in enumerate(tx.jobs(run_id)):
            version = tx.model(job.model_id or run.model_id).spec.program.name.removesuffix(".pt2")
            if run.spec.name == "" and self.silent(self.night, job.recipe.name, job.device_id):
                tx.set_jobs([JobChange(job.id, JobState.FAILED, "the phone did not answer")])
                continue
            at = begin + timedelta(seconds=30 * number)
            tx.add_result(self._result(job, version, at), blob(f"samples-{job.id}"))
            tx.set_jobs([JobChange(job.id, JobState.FINISHED)])
        tx.set_run(run_id, RunState.FINISHED, begin + timedelta(hours=2))

    def _model(self, tx: Transaction, version: str) -> Model:
        return tx.add_model(model_spec("net", program=blob(f"{version}.pt2")), "ada", FIRST)

    def _build(self, tx: Transaction, model: Model, version: str, made: Recipe) -> str:
        key = sha256(f"{version}/{made.name}")
        if not tx.builds([key]):
            tx.add_run(run_spec(model=model.id), model, [], {key: made}, "ada", FIRST)
            report = BuildReport(seconds=1.5, peak_rss_bytes=None, tool_versions={}, network_isolated=True)
            file = self.artifacts.put([key.encode()], "model.onnx")
            tx.set_build(key, BuildState.BUILT, Artifact(key=key, files=(file,), report=report))
        return key

    def _result(self, job: Job, version: str, at: datetime) -> Result:
        about = (version, job.recipe.name, job.device_id)
        median = 0.010 * self.factor(*about) * self.chance.gauss(1, self.noise.get(job.device_id, 0.004))
        evaluation = Evaluation(
            task="classification",
            samples=1000,
            score="accuracy",
            metrics={"accuracy": 0.75 - self.lost(*about)},
            reference_metrics={"accuracy": 0.765},
            confidence=0.95,
        )
        return result(
            job.id,
            latency_seconds={"p50": Estimate(value=median, low=median * 0.995, high=median * 1.005)},
            latency_mean_seconds=median,
            evaluation=evaluation,
            measured_at=at,
        )
