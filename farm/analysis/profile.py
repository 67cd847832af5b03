"""Where the time of a variant goes, operator by operator, and how two variants differ in that. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from farm.analysis import figures
from farm.errors import UserError
from farm.types import OperatorTime, Profile

if TYPE_CHECKING:
    import pandas
    from rich.console import Console, ConsoleOptions, RenderResult

MOST_ROWS = 200  # kept with a result; the raw record has all
TOP = 15
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
    """The profile of one variant on one device. ``median_seconds``: of its inferences without the profiler."""

    label: str
    profile: Profile
    median_seconds: float

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
        from rich.text import Text

        yield Text(figures.plain(self.label), style="bold")
        named = any(line.name != line.type for line in self.lines)
        lines = self.lines[:TOP]
        yield _table(
            ("operator", "type", "where", "calls", "ms", "mean ms", "share") if named else _TYPES,
            (
                (*((line.name, line.type) if named else (line.type,)), line.where, *_numbers(line), f"{line.share:.1%}")
                for line in lines
            ),
            left=3 if named else 2,
        )
        if left := len(self.lines) - len(lines):
            seconds = sum(line.seconds for line in self.lines[TOP:])
            yield Text(f"{left} more operators take {figures.milliseconds(seconds)} ms together.", style="dim")
        yield Text(self.said, style="dim")


_TYPES = ("type", "where", "calls", "ms", "mean ms", "share")


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
        from rich.text import Text

        for heading, changes in (("type", self.types), ("operator", self.names)):
            if changes:
                columns = (heading, f"{self.before.label} ms", f"{self.after.label} ms", "change ms", "calls")
                yield _table(columns, map(_change_row, changes[:TOP]), left=1)
        before, after = (
            f"{figures.milliseconds(side.profile.operators_seconds)} ms ({figures.milliseconds(side.median_seconds)})"
            for side in (self.before, self.after)
        )
        yield Text(f"All operators (median without the profiler): {before} to {after}.")


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


def _numbers(line: Line) -> tuple[str, ...]:
    return figures.number(line.calls), figures.milliseconds(line.seconds), figures.milliseconds(line.mean_seconds)


def _change_row(change: Change) -> tuple[str, ...]:
    before, after = (
        figures.MISSING if seconds is None else figures.milliseconds(seconds)
        for seconds in (change.before_seconds, change.after_seconds)
    )
    calls = f"{figures.number(change.before_calls)} → {figures.number(change.after_calls)}"
    sign = "+" if change.gained_seconds > 0 else ""
    return change.name, before, after, sign + figures.milliseconds(change.gained_seconds), calls


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]], *, left: int) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(figures.plain(cell)) for cell in row))
    return table
