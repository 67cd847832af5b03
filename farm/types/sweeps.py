"""Run templates on a schedule (sweeps), what one comes to (plan), and how each of its nights went."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, field_validator

from farm.types.base import Frozen, Name, Sha256
from farm.types.recipes import Recipe
from farm.types.runs import Priority, Protocol, Scenario


class UploadedModel(Frozen):
    """A model of the farm: the newest of a name, or a fixed one by id."""

    kind: Literal["uploaded"] = "uploaded"
    ref: str = Field(min_length=1, max_length=200)


class FileModel(Frozen):
    """A model file, and its inputs as .npz: paths on the head, or URLs that fsspec reads (``s3://…``)."""

    kind: Literal["file"] = "file"
    url: str = Field(min_length=1, max_length=2000)
    example_inputs: str = Field(min_length=1, max_length=2000)
    parity_inputs: str | None = None
    calibration_inputs: str | None = None
    dynamic_batch: bool = False


class GitModel(Frozen):
    """What a command of a repository exports: run in a checkout of ``ref`` with ``FARM_EXPORT_DIR`` as the folder to
    write ``model.pt2`` (or .pt, .ts, .onnx), ``example_inputs.npz`` and, if wanted, ``parity_inputs.npz`` and
    ``calibration_inputs.npz`` to. Only where the farm's ``allow_sweep_commands`` is set."""

    kind: Literal["git"] = "git"
    repository: str = Field(min_length=1, max_length=2000)
    ref: str = Field(default="main", min_length=1, max_length=200)
    export: tuple[str, ...] = Field(min_length=1, max_length=100)
    timeout_seconds: float = Field(default=1800.0, gt=0, le=86_400)
    dynamic_batch: bool = False


class MlflowModel(Frozen):
    """A model of an MLflow registry (``models:/NAME/VERSION``, ``models:/NAME@ALIAS``): the file in its artifacts, with
    the inputs beside it."""

    kind: Literal["mlflow"] = "mlflow"
    uri: str = Field(pattern=r"^(models|runs):/", max_length=2000)
    tracking_uri: str | None = None
    file: str = "model.pt2"
    example_inputs: str = "example_inputs.npz"
    parity_inputs: str | None = None
    calibration_inputs: str | None = None
    dynamic_batch: bool = False


ModelSource = Annotated[UploadedModel | FileModel | GitModel | MlflowModel, Field(discriminator="kind")]


class Schedule(Frozen):
    """``cron``: five fields, in the time of ``timezone`` (an IANA name). ``missed``: what becomes of nights that passed
    while the farm was away: the last one is run late, or all are skipped; either way they are on record."""

    cron: str = Field(min_length=1, max_length=200)
    timezone: str = "UTC"
    missed: Literal["run", "skip"] = "run"


class Baseline(Frozen):
    """What a night is compared with: the ``last-trusted`` result before it, a ``window`` of that many nights before it,
    or the results of one ``pinned`` run."""

    mode: Literal["last-trusted", "window", "pinned"] = "window"
    nights: int = Field(default=14, ge=3, le=365)
    run_id: int | None = Field(default=None, ge=1)


class AlertRule(Frozen):
    """A change for the worse of ``metric`` (``farm.analysis.quantities``) by more than this is a regression:
    ``max_change_ratio`` of the figure before (0.03: 3 %), or for scores ``max_drop``, absolute."""

    metric: Name
    max_change_ratio: float | None = Field(default=None, gt=0, le=10)
    max_drop: float | None = Field(default=None, gt=0, le=1)


class SweepRetention(Frozen):
    """Days that raw samples, and whole runs, of its nights are kept; history is kept either way. None: the farm's."""

    samples_days: float | None = Field(default=None, gt=0)
    runs_days: float | None = Field(default=None, gt=0)


class SweepSpec(Frozen):
    """``notify``: names of channels of the farm's settings (docs/notifications.md)."""

    name: Name
    model: ModelSource
    recipes: tuple[Recipe, ...] = Field(min_length=1, max_length=200)
    devices: str
    scenarios: tuple[Scenario, ...] = Field(default=(Scenario(),), min_length=1, max_length=50)
    protocol: Protocol = Protocol()
    schedule: Schedule | None = None  # None: only by `farm sweep run`
    priority: Priority = "nightly"
    baseline: Baseline = Baseline()
    alerts: tuple[AlertRule, ...] = Field(
        default=(
            AlertRule(metric="latency_p50", max_change_ratio=0.03),
            AlertRule(metric="latency_p95", max_change_ratio=0.05),
            AlertRule(metric="energy", max_change_ratio=0.05),
            AlertRule(metric="accuracy", max_drop=0.01),
        ),
        max_length=50,
    )
    notify: tuple[Name, ...] = Field(default=(), max_length=20)
    retention: SweepRetention = SweepRetention()

    @field_validator("alerts")
    @classmethod
    def _one_rule_per_metric(cls, alerts: tuple[AlertRule, ...]) -> tuple[AlertRule, ...]:
        metrics = [rule.metric for rule in alerts]
        if twice := {metric for metric in metrics if metrics.count(metric) > 1}:
            raise ValueError(f"more than one rule for {min(twice)}")
        return alerts


class Sweep(Frozen):
    """``next_at``: when its next night is due, None while it is paused or has no schedule."""

    spec: SweepSpec
    paused: bool = False
    created_by: str
    created_at: datetime
    changed_at: datetime
    next_at: datetime | None = None


class NightState(StrEnum):
    WAITING = "waiting"  # for its time to begin: for an earlier night of the sweep
    PREPARING = "preparing"  # its model is fetched or exported
    RUNNING = "running"
    EXAMINED = "examined"  # it ended, and was compared with its baseline
    SKIPPED = "skipped"
    FAILED = "failed"  # it came to no run

    @property
    def over(self) -> bool:
        return self in (NightState.EXAMINED, NightState.SKIPPED, NightState.FAILED)


class Night(Frozen):
    """One execution of a sweep. ``due_at``: when the schedule wanted it, or somebody asked for it.

    ``version``: of the model at its source (a commit, a registry's version, a digest). ``reason``: why it was skipped,
    failed, or waits.
    """

    id: int
    sweep: Name
    due_at: datetime
    trigger: Literal["schedule", "missed", "manual"]
    state: NightState
    requested_by: str
    reason: str = ""
    version: str = ""
    model_id: Sha256 | None = None
    run_id: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None


class SweepPlan(Frozen):
    """What a night comes to as things are now.

    ``jobs`` and builds are None where its model is not known yet, or a night would fail (``warnings`` says why).
    ``device_seconds``, ``build_seconds`` and ``expected_seconds`` are estimates from what such jobs took before; None,
    with ``why_unknown``, where nothing like it was measured yet. What else waits for the devices is not counted.
    """

    changes: tuple[str, ...]  # against the sweep that is there, in words; empty for a new one
    is_new: bool
    jobs: int | None
    devices: tuple[str, ...]
    builds_to_make: int | None
    builds_there: int | None
    device_seconds: float | None
    build_seconds: float | None
    expected_seconds: float | None
    why_unknown: str = ""
    next_at: tuple[datetime, ...] = ()  # the next few nights
    warnings: tuple[str, ...] = ()
