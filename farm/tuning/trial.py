"""One candidate of a search, measured as any other submission; what was measured before is not measured again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from farm.analysis.comparison import Comparison
from farm.analysis.overall import overall
from farm.analysis.quantities import compared
from farm.client import Client
from farm.errors import FarmError
from farm.tuning.goal import Goal
from farm.types import JobOutcome, Protocol, Recipe, RunSpec, Scenario, VerdictLevel

# The first look at a candidate: enough for its size, its parity, and whether it is far off.
FIRST_LOOK = Protocol(min_warmup_seconds=0.2, min_samples=30, min_seconds=0.1, max_seconds=1.0, timeout_seconds=300)


@dataclass(frozen=True)
class Task:
    """What all candidates of a search have in common. ``model`` is an id, ``devices`` a selector."""

    url: str
    token: str
    model: str
    devices: str
    goal: Goal
    protocol: Protocol
    search: str


@dataclass(frozen=True)
class Standing:
    """How a candidate stands after a look at it. ``why``: why it was given up, or why it has no figures."""

    figures: dict[str, float | None]
    jobs: tuple[int, ...]
    reused: bool
    full: bool
    why: str = ""


def check_metrics(metrics: Sequence[str]) -> None:
    """Raises UserError for a metric that no row of a comparison has."""
    for metric in metrics:
        compared(metric)


def stand(task: Task, recipe: Recipe, threads: int) -> Iterator[Standing]:
    """After the first look, and where it may still win, after the measurement itself."""
    with Client(task.url, token=task.token) as client:
        for protocol, full in ((FIRST_LOOK, False), (task.protocol, True)):
            try:
                standing = _look(client, task, recipe, threads, protocol, full=full)
            except FarmError as error:
                standing = Standing({}, (), False, full, str(error))
            yield standing
            if standing.why:
                return


def _look(client: Client, task: Task, recipe: Recipe, threads: int, protocol: Protocol, *, full: bool) -> Standing:
    spec = RunSpec(
        model=task.model,
        recipes=(recipe,),
        devices=task.devices,
        scenarios=(Scenario("single-stream", threads=threads),),
        protocol=protocol,
        name=f"{task.search}: {recipe.name}",
    )
    outcomes, reused = client.known_outcomes(spec), True
    if not outcomes:
        outcomes, reused = client.submit_spec(spec).wait().outcomes(), False
    jobs = tuple(outcome.job.id for outcome in outcomes)
    lost = [outcome for outcome in outcomes if outcome.result is None]
    if lost:
        failure = lost[0].job.failure
        return Standing({}, jobs, reused, full, str(failure) if failure else lost[0].job.reason or "no result")
    figures = combined(outcomes, task.goal.metrics)
    return Standing(figures, jobs, reused, full, "" if full else _hopeless(outcomes, task.goal, figures))


def _hopeless(outcomes: list[JobOutcome], goal: Goal, figures: dict[str, float | None]) -> str:
    """Why a full measurement could not change that it loses: all that does not depend on how long one measures."""
    verdicts = [outcome.result.verdict for outcome in outcomes if outcome.result]
    invalid = [verdict for verdict in verdicts if verdict.level is VerdictLevel.INVALID]
    timeless = [constraint for constraint in goal.broken(figures) if not constraint.metric.startswith("latency")]
    told = [reason.text for verdict in invalid for reason in verdict.reasons]
    told += [
        f"{constraint.metric} is {_text(figures[constraint.metric])}, not {constraint.bound} {constraint.limit:g}"
        for constraint in timeless
    ]
    return "; ".join(dict.fromkeys(told))


def combined(outcomes: list[JobOutcome], metrics: tuple[str, ...]) -> dict[str, float | None]:
    """One figure per metric: over several devices as ``overall`` makes it; None where a device has none."""
    rows = Comparison(outcomes, include_virtual=True).rows
    found: dict[str, float | None] = {}
    for metric in metrics:
        quantity = compared(metric)
        figures = [row.figure(quantity) for row in rows]
        known = [figure for figure in figures if figure]
        found[metric] = overall(quantity, known).value if known and len(known) == len(figures) else None
    return found


def _text(value: float | None) -> str:
    return "absent" if value is None else f"{value:g}"
