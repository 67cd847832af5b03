"""Where the time of a variant goes, operator by operator, and how two variants differ in that. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from farm.analysis import figures
from farm.errors import NotFoundError, UserError
from farm.types import JobOutcome, OperatorTime, Profile

if TYPE_CHECKING:
    import pandas
    from rich.console import Console, ConsoleOptions, RenderResult

MOST_ROWS = 200  # kept with a result; the raw record has all
OTHERS = "(others)"


def compact(profile: Profile, most: int = MOST_ROWS) -> Profile:
    """With the cheapest operators beyond ``most`` rows as one row per place they ran on, so that sums stay right."""
    rows = sorted(profile.operators, key=lambda row: row.total_seconds, reverse=True)
    if len(rows) <= most:
        return profile.model_copy(update={"operators": tuple(rows)})
    rest: dict[str, list[OperatorTime]] = {}
    for row in rows[most:]:
        rest.setdefault(row.where, []).append(row)
    others = [
        OperatorTime(
            name=OTHERS,
            type=OTHERS,
            count=sum(row.count for row in found),
            total_seconds=sum(row.total_seconds for row in found),
            where=where,
        )
        for where, found in rest.items()
    ]
    return profile.model_copy(update={"operators": (*rows[:most], *others)})


def find(
    outcomes: Iterable[JobOutcome], recipe: str, device: str | None = None, scenario: str | None = None
) -> OperatorProfile:
    """The profile of a recipe in a run. Raises NotFoundError with the reason why there is none, and UserError where
    several devices or scenarios have one."""
    outcomes = list(outcomes)
    asked = [outcome for outcome in outcomes if outcome.job.recipe.name == recipe]
    if not asked:
        names = ", ".join(sorted({outcome.job.recipe.name for outcome in outcomes}))
        raise NotFoundError(f"The run has no recipe {recipe!r}.", remedy=f"It has {names}.")
    asked = [
        outcome
        for outcome in asked
        if device in (None, outcome.device.id) and scenario in (None, str(outcome.job.scenario))
    ]
    profiles = [found for outcome in asked if (found := of(outcome)) is not None]
    if not profiles:
        whys = {outcome.result.absent.get("profile") for outcome in asked if outcome.result} - {None}
        why = "; ".join(sorted(filter(None, whys))) or "none was asked for, or the job has no result"
        raise NotFoundError(
            f"There is no profile of {recipe}: {why}.",
            remedy="Submit with --profile, or Protocol(profile=True); docs/profiling.md says which runtimes have one.",
        )
    if len(profiles) > 1:
        places = ", ".join(f"{outcome.device.id} {outcome.job.scenario}" for outcome in asked if of(outcome))
        raise UserError(
            f"There are {len(profiles)} profiles of {recipe}: {places}.", remedy="Name the device and the scenario."
        )
    return profiles[0]


def of(outcome: JobOutcome) -> OperatorProfile | None:
    """The profile of one job, where it has one."""
    result = outcome.result
    if result is None or result.profile is None:
        return None
    return OperatorProfile(outcome.job.recipe.name, result.profile)


@dataclass(frozen=True)
class Line:
    """One operator, or one type of them, per inference. ``share`` is of the sum of all operators."""

    name: str
    type: str
    where: str
    calls: float
    seconds: float
    share: float

    @property
    def mean_seconds(self) -> float:
        return self.seconds / self.calls


@dataclass(frozen=True)
class Change:
    """What became of an operator, or of a type of them, from one variant to another. Seconds per inference; None where
    the variant has no such operator."""

    name: str
    before_seconds: float | None
    after_seconds: float | None
    before_calls: float = 0
    after_calls: float = 0

    @property
    def gained_seconds(self) -> float:
        """How much longer it takes afterwards: negative where it became cheaper."""
        return (self.after_seconds or 0.0) - (self.before_seconds or 0.0)


@dataclass(frozen=True)
class OperatorProfile:
    """The profile of one variant on one device."""

    label: str
    profile: Profile

    @property
    def median_seconds(self) -> float:
        """Of its measured inferences, without the profiler."""
        return self.profile.unprofiled_seconds

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """Every operator, the most expensive first."""
        return self._lines(self.profile.operators)

    @cached_property
    def types(self) -> tuple[Line, ...]:
        """Operators of one type that ran in one place added up, the most expensive type first."""
        found: dict[tuple[str, str], list[OperatorTime]] = {}
        for row in self.profile.operators:
            found.setdefault((row.type, row.where), []).append(row)
        return self._lines(
            OperatorTime(
                name=kind,
                type=kind,
                count=sum(row.count for row in rows),
                total_seconds=sum(row.total_seconds for row in rows),
                where=where,
            )
            for (kind, where), rows in found.items()
        )

    def _lines(self, rows: Iterable[OperatorTime]) -> tuple[Line, ...]:
        runs, whole = self.profile.runs, sum(row.total_seconds for row in self.profile.operators)
        lines = [
            Line(
                name=row.name,
                type=row.type,
                where=row.where,
                calls=row.count / runs,
                seconds=row.total_seconds / runs,
                share=row.total_seconds / whole if whole else 0.0,
            )
            for row in rows
        ]
        return tuple(sorted(lines, key=lambda line: line.seconds, reverse=True))

    @property
    def covered_ratio(self) -> float:
        """Sum of the operators over the unprofiled median. Below 1: time that is in no operator (the runtime's own,
        or kernels it does not show); above: what profiling adds, or operators that ran side by side."""
        return self.profile.operators_seconds / self.median_seconds

    @property
    def overhead_ratio(self) -> float:
        """How much longer an inference took with the profiler than without: 0.2 is 20 %."""
        return self.profile.inference_seconds / self.median_seconds - 1

    @property
    def said(self) -> str:
        """How far the figures can be taken, in a sentence."""
        return (
            f"By {self.profile.tool} over {self.profile.runs} inferences of "
            f"{figures.milliseconds(self.profile.inference_seconds)} ms each ({self.overhead_ratio:+.0%} with the "
            f"profiler); the operators add up to {figures.milliseconds(self.profile.operators_seconds)} ms, "
            f"{self.covered_ratio:.0%} of the median without it."
        )

    def diff(self, after: OperatorProfile) -> Diff:
        """From this variant to ``after``."""
        return Diff(self, after)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "label": self.label,
            "tool": self.profile.tool,
            "runs": self.profile.runs,
            "median_seconds": self.median_seconds,
            "profiled_inference_seconds": self.profile.inference_seconds,
            "overhead_ratio": self.overhead_ratio,
            "covered_ratio": self.covered_ratio,
            "operators": [vars(line) | {"mean_seconds": line.mean_seconds} for line in self.lines],
        }

    def to_pandas(self) -> pandas.DataFrame:
        """One row per operator, per inference. Raises UserError without pandas."""
        try:
            import pandas
        except ImportError as error:
            raise UserError("pandas is not installed.", remedy="pip install 'torchfarm[pandas]'") from error
        return pandas.DataFrame.from_records(self.to_dict()["operators"])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from farm.analysis.profiletable import operators

        yield from operators(self)


@dataclass(frozen=True)
class Diff:
    """What changed from one variant to another, by type and, where both have operators of one name, by name."""

    before: OperatorProfile
    after: OperatorProfile

    @cached_property
    def types(self) -> tuple[Change, ...]:
        """By type, wherever they ran; the largest change first. Runtimes name types their own way: between two
        runtimes few match."""
        return _changes(_summed(self.before, "type"), _summed(self.after, "type"))

    @cached_property
    def names(self) -> tuple[Change, ...]:
        """Operators that both have by name, where the runtime has names; the largest change first."""
        before, after = _summed(self.before, "name"), _summed(self.after, "name")
        types = {line.type for side in (self.before, self.after) for line in side.lines}
        shared = (before.keys() & after.keys()) - types
        return _changes({name: before[name] for name in shared}, {name: after[name] for name in shared})

    @property
    def gained_seconds(self) -> float:
        """How much longer all operators together take afterwards: the sum over ``types``."""
        return self.after.profile.operators_seconds - self.before.profile.operators_seconds

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "gained_seconds": self.gained_seconds,
            "types": [vars(change) | {"gained_seconds": change.gained_seconds} for change in self.types],
            "names": [vars(change) | {"gained_seconds": change.gained_seconds} for change in self.names],
        }

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from farm.analysis.profiletable import changes

        yield from changes(self)


def _summed(side: OperatorProfile, key: str) -> dict[str, tuple[float, float]]:
    """Seconds and calls per inference."""
    found: dict[str, tuple[float, float]] = {}
    for line in side.lines:
        seconds, calls = found.get(getattr(line, key), (0.0, 0.0))
        found[getattr(line, key)] = seconds + line.seconds, calls + line.calls
    return found


def _changes(before: Mapping[str, tuple[float, float]], after: Mapping[str, tuple[float, float]]) -> tuple[Change, ...]:
    nothing = (None, 0.0)
    changes = []
    for name in before.keys() | after.keys():
        (was, was_calls), (now, now_calls) = before.get(name, nothing), after.get(name, nothing)
        changes.append(Change(name, was, now, was_calls, now_calls))
    return tuple(sorted(changes, key=lambda change: (-abs(change.gained_seconds), change.name)))
