"""One line of a comparison: a job, its figures, and how they stand to PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from farm.analysis import insight
from farm.analysis.figures import MISSING
from farm.analysis.notebook import Notebook
from farm.analysis.quantities import COMPARED, Quantity
from farm.analysis.sheet import Line, Sheet
from farm.analysis.wording import interval, title, written
from farm.types import Estimate, Evaluation, Job, JobOutcome, JobState, Reason, Run, VerdictLevel

BASELINE = "pytorch"
PARITY = (
    "samples",
    "cosine",
    "max_abs_error",
    "max_rel_error",
    "reference_abs_max",
    "snr_db",
    "top1_agreement",
    "top5_agreement",
)


def is_baseline(job: Job) -> bool:
    """Eager PyTorch; of batches what was made for them and nothing else."""
    recipe = job.recipe
    if job.batch == 1:
        return recipe.name == BASELINE
    eager = recipe.runtime == "pytorch" and recipe.options.get("mode", "eager") == "eager"
    return eager and all(step.kind in ("batch", "dynamic-batch") for step in recipe.transforms)


@dataclass(frozen=True)
class Setting:
    """Where and what: only rows of one setting are ranked against each other. ``scenario`` tells the batch also where
    the artifact brought its own: calls of different sizes are no rivals."""

    device: str
    scenario: str
    virtual: bool


@dataclass(frozen=True)
class Row(Notebook):
    """One job. ``speedup`` is the baseline's median over this one's; None where ``speedup_absent`` says why.

    ``among_runs``: there are rows of other runs beside it.
    """

    outcome: JobOutcome
    speedup: Estimate | None
    speedup_absent: str = ""
    run: Run | None = field(default=None, repr=False)
    among_runs: bool = False

    @property
    def recipe(self) -> str:
        return self.outcome.job.recipe.name

    @property
    def label(self) -> str:
        """The recipe, with the run where the comparison holds several."""
        return f"{self.recipe} (run {self.run_id})" if self.among_runs else self.recipe

    @property
    def run_id(self) -> int:
        return self.outcome.job.run_id

    @property
    def setting(self) -> Setting:
        job, device = self.outcome.job, self.outcome.device
        scenario = job.scenario.model_copy(update={"batch": self.batch})
        return Setting(device.id, str(scenario), device.facts.virtual)

    @property
    def batch(self) -> int:
        """Samples per inference."""
        return self.outcome.job.batch

    @property
    def is_baseline(self) -> bool:
        return is_baseline(self.outcome.job)

    @property
    def level(self) -> VerdictLevel | None:
        return self.outcome.result.verdict.level if self.outcome.result else None

    @property
    def status(self) -> str:
        """The verdict's level, or for a job without a result its state."""
        return self.level or self.outcome.job.state

    @property
    def reasons(self) -> tuple[Reason, ...]:
        return self.outcome.result.verdict.reasons if self.outcome.result else ()

    @property
    def failure(self) -> str | None:
        """Why there is no result and will be none; None while there may be one."""
        job = self.outcome.job
        if job.state not in (JobState.FAILED, JobState.CANCELLED):
            return None
        return str(job.failure) if job.failure else job.reason or str(job.state)

    @property
    def artifact_bytes(self) -> int | None:
        return self.outcome.artifact.size_bytes if self.outcome.artifact else None

    @property
    def absent(self) -> dict[str, str]:
        """Why figures of this row are missing, by name."""
        result = self.outcome.result
        absent = {**result.absent, **result.telemetry.absent} if result else {}
        return absent | ({"speedup": self.speedup_absent} if self.speedup_absent else {})

    @property
    def evaluation(self) -> Evaluation | None:
        return self.outcome.result.evaluation if self.outcome.result else None

    def figure(self, metric: Quantity) -> Estimate | None:
        """None where there is none, or none that is finite."""
        if metric.name == "speedup":
            return self.speedup
        found = metric.of(self.outcome.result) if self.outcome.result else None
        return found if found and math.isfinite(found.value) else None

    def latency(self, quantile: str) -> Estimate | None:
        """``quantile``: "p50", "p90", "p95" or "p99"; seconds."""
        return self.outcome.result.latency_seconds.get(quantile) if self.outcome.result else None

    def printed(self, quantile: str) -> float | None:
        """Seconds that a native tool printed for it, where there are no samples to work one out with an interval."""
        report = self.outcome.result.tool_report if self.outcome.result else None
        return report.quantiles_seconds.get(quantile) if report and self.latency(quantile) is None else None

    def to_dict(self) -> dict[str, Any]:
        """Flat and ready for JSON: what is absent or not finite is None."""
        job, device, result = self.outcome.job, self.outcome.device, self.outcome.result
        record: dict[str, Any] = {
            "run": self.run_id,
            "model": self.run.model_name if self.run else None,
            "job": job.id,
            "recipe": self.recipe,
            "runtime": job.recipe.runtime,
            "device": device.id,
            "device_model": device.facts.device_model,
            "virtual": device.facts.virtual,
            "scenario": job.scenario.name,
            "threads": job.scenario.threads,
            "accelerator": job.scenario.accelerator,
            "tool": result.tool_report.tool if result and result.tool_report else job.scenario.tool,
            "batch": self.batch,
            "state": str(job.state),
            "verdict": str(self.level) if self.level else None,
            "reasons": [reason.model_dump(mode="json") for reason in self.reasons],
            "failure": self.failure,
        }
        for quantile in ("p50", "p90", "p95", "p99"):
            record |= _columns(f"latency_{quantile}", "_seconds", self.latency(quantile))
            record[f"tool_{quantile}_seconds"] = self.printed(quantile)
        record |= _columns("speedup", "", self.speedup)
        record |= _columns("preprocess", "_seconds", result.preprocess_seconds if result else None)
        record |= _columns("postprocess", "_seconds", result.postprocess_seconds if result else None)
        record |= _columns("energy", "_joules", result.energy_joules if result else None)
        record |= _columns("power", "_watts", result.power_watts if result else None)
        record["host_preprocess_seconds"] = result.host_preprocess_seconds if result else None
        for name in (
            "latency_mean_seconds",
            "confidence",
            "sample_count",
            "independent_sample_count",
            "samples_per_second",
            "import_seconds",
            "load_seconds",
            "first_inference_seconds",
            "memory_peak_bytes",
            "memory_over_baseline_bytes",
            "idle_power_watts",
            "energy_method",
        ):
            record[name] = getattr(result, name) if result else None
        for name in ("temperature_start_celsius", "temperature_max_celsius"):
            record[name] = getattr(result.telemetry, name) if result else None
        parity = result.parity if result else None
        for name in PARITY:
            value = getattr(parity, name) if parity else None
            record[f"parity_{name}"] = _finite(value) if isinstance(value, float) else value
        record |= self._scores()
        return record | {
            "artifact_bytes": self.artifact_bytes,
            **insight.columns(self.outcome),
            "measured_at": result.measured_at.isoformat() if result else None,
            "absent": self.absent,
        }

    def records(self) -> list[dict[str, Any]]:
        return [{name: value for name, value in self.to_dict().items() if name not in ("absent", "reasons")}]

    def drawing(self) -> dict[str, Any] | None:
        from farm.report.dots import quantiles

        return quantiles(self)

    def sheets(self) -> tuple[Sheet, ...]:
        """Every figure that it has, and what is said of it."""
        lines = []
        for metric in COMPARED.values():
            if figure := self.figure(metric):
                lines.append(
                    Line(((title(metric), ""), (written(metric, figure.value), ""), (interval(metric, figure), "")))
                )
        notes = [f"{reason.code}: {reason.text}" for reason in self.reasons]
        if self.failure:
            notes.append(f"{self.status}: {self.failure}")
        name = f"{self.label} on {self.setting.device}, {self.setting.scenario}: {self.status}"
        headings = (("figure", ""), ("", ""), ("interval", ""))
        return (Sheet(name, headings, tuple(lines), notes=tuple(notes), virtual=self.setting.virtual),)

    def _scores(self) -> dict[str, Any]:
        """Of the labelled set; with every metric where there is one, so that other rows lack these columns."""
        found = self.evaluation
        record: dict[str, Any] = {
            "evaluation_task": found.task if found else None,
            "evaluation_samples": found.samples if found else None,
            "evaluation_score": found.score if found else None,
            **_columns("evaluation_drop", "", found.drop if found else None),
            "evaluation_changed_predictions": found.changed_predictions if found else None,
        }
        if found:
            record |= {f"evaluation_{name}": _finite(value) for name, value in found.metrics.items()}
            record |= {f"evaluation_pytorch_{name}": _finite(value) for name, value in found.reference_metrics.items()}
        return record


@dataclass(frozen=True)
class Recommendation(Notebook):
    """Which variant to ship in one setting. ``row`` is None where nothing can be recommended: ``why_not``.

    ``rivals`` cannot be told from ``row`` by their intervals. ``passed_over`` have a lower median and a worse verdict.
    """

    setting: Setting
    row: Row | None
    rivals: tuple[Row, ...] = ()
    passed_over: tuple[Row, ...] = ()
    why_not: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; rows by their job ids."""
        return {
            "device": self.setting.device,
            "virtual": self.setting.virtual,
            "scenario": self.setting.scenario,
            "job": self.row.outcome.job.id if self.row else None,
            "recipe": self.row.recipe if self.row else None,
            "verdict": self.row.status if self.row else None,
            "rivals": [row.outcome.job.id for row in self.rivals],
            "passed_over": [row.outcome.job.id for row in self.passed_over],
            "why_not": self.why_not,
        }

    @property
    def _named(self) -> tuple[tuple[Row, str], ...]:
        best = ((self.row, "recommended"),) if self.row else ()
        others = ((row, "as fast") for row in self.rivals)
        return (*best, *others, *((row, f"faster, {row.status}") for row in self.passed_over))

    def records(self) -> list[dict[str, Any]]:
        return [{"role": role, **row.records()[0]} for row, role in self._named]

    def drawing(self) -> dict[str, Any] | None:
        from farm.report.dots import values

        return values([row for row, _ in self._named], COMPARED["latency_p50"])

    def sheets(self) -> tuple[Sheet, ...]:
        from farm.analysis.advice import headline

        metric = COMPARED["latency_p50"]
        lines = []
        for row, role in self._named:
            figure = row.figure(metric)
            cell = (written(metric, figure.value), interval(metric, figure)) if figure else (MISSING, "")
            lines.append(Line(((row.label, role), cell), "best" if row is self.row else ""))
        name = f"{self.setting.device}, {self.setting.scenario}"
        headings = (("variant", ""), (title(metric), "interval"))
        return (Sheet(name, headings, tuple(lines), said=(headline(self),), virtual=self.setting.virtual),)


def _columns(name: str, unit: str, estimate: Estimate | None) -> dict[str, float | None]:
    return {
        f"{name}{unit}": estimate.value if estimate else None,
        f"{name}_low{unit}": estimate.low if estimate else None,
        f"{name}_high{unit}": estimate.high if estimate else None,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
