"""Results side by side: what the client prints, asks for the best of, and makes the report from.

Light on purpose (standard library and ``farm.types``); rich, pandas and plotly are imported when they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farm.analysis.across import Across, across_devices
from farm.analysis.constraint import constraints_of
from farm.analysis.contender import Wish
from farm.analysis.grid import Grid, grids, models, only_one, select
from farm.analysis.notebook import drawn, frame, printed
from farm.analysis.order import cost, told_apart
from farm.analysis.overview import overviews
from farm.analysis.pareto import Pareto, check, pareto_front
from farm.analysis.place import by_of
from farm.analysis.quantities import Quantity, compared
from farm.analysis.ratio import ratio
from farm.analysis.row import BASELINE, Recommendation, Row, Setting, is_baseline
from farm.analysis.shipping import Shipping, ship
from farm.analysis.wording import listed
from farm.errors import ConflictError, NotFoundError, UserError
from farm.types import Estimate, JobOutcome, Run, Scenario, VerdictLevel

if TYPE_CHECKING:
    import pandas
    import plotly.graph_objects
    from rich.console import Console, ConsoleOptions, RenderResult

_LEVELS = (VerdictLevel.TRUSTED, VerdictLevel.SUSPECT, VerdictLevel.INVALID)


class Comparison:
    """The jobs of one run or of several, each against PyTorch of the same run, device and scenario.

    ``runs`` adds names and protocols. ``load_samples`` gives a job's latency samples in seconds, for the report.
    Virtual devices are never mixed with real ones: where there are both, the virtual ones are left out
    (``left_out`` counts their rows) unless ``include_virtual``, and then they stand apart.
    """

    def __init__(
        self,
        outcomes: Iterable[JobOutcome],
        *,
        runs: Iterable[Run] = (),
        load_samples: Callable[[int], Sequence[float]] | None = None,
        include_virtual: bool = False,
    ) -> None:
        self.runs = {run.id: run for run in runs}
        self._load_samples = load_samples
        everything = list(outcomes)
        real = [outcome for outcome in everything if not outcome.device.facts.virtual]
        shown = everything if include_virtual or not real else real
        self.left_out = len(everything) - len(shown)
        baselines = {_place(outcome): outcome for outcome in shown if is_baseline(outcome.job)}
        among_runs = len({outcome.job.run_id for outcome in shown}) > 1
        rows = []
        for outcome in shown:
            speedup, why_not = _speedup(outcome, baselines.get(_place(outcome)))
            rows.append(Row(outcome, speedup, why_not, self.runs.get(outcome.job.run_id), among_runs))
        self.rows = tuple(sorted(rows, key=_order))

    @cached_property
    def settings(self) -> Mapping[Setting, tuple[Row, ...]]:
        """The rows by setting: real devices first, in each the fastest first, invalid and failed ones last."""
        return {
            setting: tuple(row for row in self.rows if row.setting == setting)
            for setting in dict.fromkeys(row.setting for row in self.rows)
        }

    def best(
        self,
        metric: str = "latency_p50",
        *,
        device: str | None = None,
        scenario: str | Scenario | None = None,
        run: int | None = None,
        batch: int | None = None,
        trusted_only: bool = True,
    ) -> Row:
        """The row with the best ``metric`` (``farm.analysis.quantities.COMPARED``) on one device.

        Latencies are those of one call; ``seconds_per_sample`` is what compares batches of different sizes.
        Invalid results never win; suspect ones may with ``trusted_only=False``. Rivals that cannot be told from the
        winner are in ``rivals(row)``. Raises UserError where the question has no one answer (unknown metric, several
        devices or models), NotFoundError where nothing matches, ConflictError where nothing can be trusted.
        """
        asked = compared(metric)
        rows = select(self.rows, device=device, scenario=scenario, run=run, batch=batch)
        only_one("devices", "device", {row.setting.device for row in rows})
        if asked.name.startswith("latency_"):  # of a call
            only_one("batch sizes", "batch", {str(row.batch) for row in rows})
        only_one("models", "run", models(rows))
        best = _best(rows, asked, _LEVELS[:1] if trusted_only else _LEVELS[:2])
        if best is None:
            raise ConflictError(
                f"No {'trusted ' if trusted_only else 'usable '}result has a {metric}: {_why_none(rows)}.",
                remedy="Run them again on a quiet device"
                + (", or pass trusted_only=False to take suspect results too." if trusted_only else "."),
            )
        return best

    def rivals(self, row: Row, metric: str = "latency_p50") -> tuple[Row, ...]:
        """Rows of the same setting that the intervals cannot tell from ``row``; invalid ones do not count."""
        asked = compared(metric)
        own = row.figure(asked)
        if own is None:
            return ()
        return tuple(
            other
            for other in self.settings[row.setting]
            if other is not row
            and other.level in _LEVELS[:2]
            and (theirs := other.figure(asked)) is not None
            and not told_apart(theirs, own)
        )

    def across(
        self,
        metric: str = "latency_p50",
        *,
        baseline: str | None = None,
        variants: Sequence[str] | None = None,
        scenario: str | Scenario | None = None,
        run: int | None = None,
        trusted_only: bool = False,
    ) -> Across:
        """How many times better than ``baseline`` (eager PyTorch) each variant is: the geometric mean over the devices
        on which every one of ``variants`` has a figure. Raises UserError, NotFoundError."""
        found = self._grids(scenario, run)[0]
        return across_devices(found, compared(metric), variants=variants, baseline=baseline, trusted_only=trusted_only)

    def pareto(
        self,
        *metrics: str,
        device: str | None = None,
        variants: Sequence[str] | None = None,
        scenario: str | Scenario | None = None,
        run: int | None = None,
        trusted_only: bool = False,
    ) -> Pareto:
        """Which variants no other beats in all of two to five metrics, on ``device`` or over all devices. Raises
        UserError, NotFoundError."""
        asked = tuple(compared(metric) for metric in metrics)
        check(asked)
        held = self._grids(scenario, run)
        found = next((grid for grid in held if device in grid.devices), held[0])
        return pareto_front(found, asked, device=device, variants=variants, trusted_only=trusted_only)

    def ship(
        self,
        objective: str = "latency_p50",
        constraints: Mapping[str, str] | Sequence[str] = (),
        *,
        by: str = "device",
        scenario: str | Scenario | None = None,
        run: int | None = None,
        trusted_only: bool = True,
    ) -> Shipping:
        """Which variant to ship on each device (``by="soc"``, ``"device_model"``, ``"platform"``, ``"all"``: for each
        group of them), and what one variant everywhere would cost.

        ``constraints``: ``{"parity_cosine": ">=0.999", "artifact_size": "<=8MB"}`` or
        ``["parity_cosine>=0.999"]``; each is kept only where the whole interval of the figure keeps it, and never by
        what was not measured. Raises UserError, NotFoundError.
        """
        limits = constraints_of(constraints)
        for limit in limits:
            compared(limit.metric)
        wish = Wish(compared(objective), limits, trusted_only)
        return ship(self._grids(scenario, run), wish, by_of(by))

    def _grids(self, scenario: str | Scenario | None, run: int | None) -> tuple[Grid, ...]:
        return grids(self.rows, None if scenario is None else str(scenario), run)

    def recommendations(self) -> tuple[Recommendation, ...]:
        """For each setting the variant with the smallest median: a trusted one, or failing that a suspect one."""
        return tuple(self._recommend(setting, rows) for setting, rows in self.settings.items())

    def _recommend(self, setting: Setting, rows: Sequence[Row]) -> Recommendation:
        if len({row.run.model_id for row in rows if row.run}) > 1:
            return Recommendation(setting, None, why_not="the runs are of different models")
        median = compared("latency_p50")
        row = _best(rows, median, _LEVELS[:1]) or _best(rows, median, _LEVELS[:2])
        if row is None:
            return Recommendation(setting, None, why_not=_why_none(rows))
        own = row.outcome.result.latency_seconds["p50"].value if row.outcome.result else 0.0
        passed_over = tuple(
            other for other in rows if (theirs := other.latency("p50")) is not None and theirs.value < own
        )
        rivals = tuple(rival for rival in self.rivals(row) if rival not in passed_over)
        return Recommendation(setting, row, rivals, passed_over)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "runs": [run.model_dump(mode="json") for run in self.runs.values()],
            "rows": [row.to_dict() for row in self.rows],
            "recommendations": [found.to_dict() for found in self.recommendations()],
            "across_devices": [means.to_dict() for found in overviews(self.rows) for means in found.means],
            "virtual_rows_left_out": self.left_out,
        }

    def to_pandas(self) -> pandas.DataFrame:
        """One row per job, figures in the units of their column names. Raises UserError without pandas."""
        records = []
        for row in self.rows:
            record = row.to_dict()
            del record["absent"]
            record["reasons"] = ", ".join(reason.code for reason in row.reasons)
            records.append(record)
        return frame(records)

    def plot(self, metric: str = "latency_p50") -> plotly.graph_objects.Figure:
        """``metric`` of every row with its interval. Raises UserError without plotly, ConflictError where no row has
        it."""
        from farm.report.dots import values

        return drawn(values(self.rows, compared(metric)))

    def report(self, path: str | Path, samples: Mapping[int, Sequence[float]] | None = None) -> Path:
        """Write the self-contained HTML report. ``samples``: latency samples in seconds by job id, where they are
        already at hand; a job whose samples the farm no longer has is shown without them. Raises UserError when the
        file cannot be written."""
        from farm.report.html import render

        html = render(self, self._samples() if samples is None else samples)
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(html, encoding="utf-8")
        except OSError as error:
            raise UserError(f"The report cannot be written to {path}: {error}.", remedy="Name another file.") from error
        return path

    def _samples(self) -> dict[int, Sequence[float]]:
        found: dict[int, Sequence[float]] = {}
        for row in self.rows if self._load_samples else ():
            try:
                if row.outcome.result and self._load_samples:
                    found[row.outcome.job.id] = self._load_samples(row.outcome.job.id)
            except NotFoundError:
                continue
        return found

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from farm.analysis.table import blocks

        yield from blocks(self, options.max_width)

    def __str__(self) -> str:
        return printed(self)

    def __repr__(self) -> str:
        return f"<Comparison of {len(self.rows)} jobs in {len(self.settings)} settings>"

    def _repr_html_(self) -> str:
        from farm.report.html import fragment

        return fragment(self)


def _place(outcome: JobOutcome) -> tuple[int, str, Scenario]:
    """Also of an artifact that brought its batch with it: what was asked for a batch of that size stands beside it."""
    scenario = outcome.job.scenario.model_copy(update={"batch": outcome.job.batch})
    return outcome.job.run_id, outcome.device.id, scenario


def _speedup(outcome: JobOutcome, baseline: JobOutcome | None) -> tuple[Estimate | None, str]:
    if outcome.result is None:
        return None, "the job has no result"
    if baseline is None or baseline.result is None:
        batch = f" with batch {outcome.job.batch}" if outcome.job.batch > 1 else ""
        return None, f"there is no result of {BASELINE!r}{batch} in this run on this device in this scenario"
    if outcome.job.id == baseline.job.id:
        return Estimate(value=1, low=1, high=1), ""
    if baseline.result.verdict.level is VerdictLevel.INVALID:
        return None, f"the result of {BASELINE!r} itself is invalid"
    own, theirs = outcome.result.latency_seconds.get("p50"), baseline.result.latency_seconds.get("p50")
    if own is None or theirs is None:
        return None, f"the median of {outcome.job.recipe.name if own is None else BASELINE} has no interval"
    return ratio(theirs, own), ""


def _order(row: Row) -> tuple[Any, ...]:
    median = row.latency("p50")
    group = 3 if row.level is None else 2 if row.level is VerdictLevel.INVALID else 0 if median else 1
    setting, value = row.setting, median.value if median else 0.0
    return setting.virtual, setting.device, setting.scenario, group, value, row.recipe, row.run_id


def _best(rows: Iterable[Row], metric: Quantity, levels: Sequence[VerdictLevel]) -> Row | None:
    valued = [(cost(metric, figure), row) for row in rows if row.level in levels and (figure := row.figure(metric))]
    return min(valued, key=lambda pair: pair[0])[1] if valued else None


def _why_none(rows: Iterable[Row]) -> str:
    return listed(
        [
            f"{row.label} is {row.status}"
            + (f" ({', '.join(dict.fromkeys(reason.code for reason in row.reasons))})" if row.reasons else "")
            for row in rows
        ],
        8,
    )
