"""What a night found, against what is known already: regressions that are new, go on, or have ended. Pure.

Whether an open one goes on is asked of its own figures, not of the night's baseline: a window of nights moves up to
what got slower, and would call it healed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from farm.analysis.quantities import quantity
from farm.analysis.regressed import MISSING_METRIC
from farm.analysis.regression import Change, Examination, Finding, FindingKind, Line, Scope
from farm.sweeps.levels import distance, own_levels, went_on
from farm.sweeps.lines import Series, origin_of
from farm.types import (
    HistoryPoint,
    Member,
    Night,
    Regression,
    RegressionKind,
    RegressionState,
    SeriesKey,
    VerdictLevel,
)

MOST_MEMBERS = 200  # that are written down; ``affected`` has the devices of all

_SETTLED = (RegressionState.CONFIRMED, RegressionState.UNCONFIRMED, RegressionState.CLOSED)


@dataclass(frozen=True)
class Known:
    """``open``: regressions of the sweep that have not ended, also those closed, but for noisy devices
    (``farm.sweeps.noise``).
    ``refuted``: what was measured once more and found to be as before."""

    open: Sequence[Regression] = ()
    refuted: Sequence[Regression] = ()


@dataclass(frozen=True)
class Outcome:
    """``new`` have no number yet. ``changed``: of those known."""

    new: tuple[Regression, ...]
    changed: tuple[Regression, ...]


class Weighing:
    """One night. ``why_missing``: why there is no result of a series, in words."""

    def __init__(
        self,
        night: Night,
        nights: Sequence[Night],
        lines: Sequence[Line],
        known: Known,
        at: datetime,
        why_missing: Callable[[Series], str],
    ) -> None:
        self._night, self._at, self._why_missing = night, at, why_missing
        self._nights = {each.id: each for each in nights}
        self._lines = {Series(line.variant, line.device, line.scenario): line for line in lines}
        self._refuted = {_trial(member) for each in known.refuted for member in each.members}
        self._open = {each.id: each for each in known.open}
        self._before = dict(self._open)
        self._new: list[Regression] = []
        self._said: dict[Series, tuple[str, ...]] = {}  # of what is missing
        self._own: dict[SeriesKey, float | None] = {}  # tonight's figures, without what their devices did

    def outcome(self, examination: Examination) -> Outcome:
        self._own = {change.key: change.own_now for change in examination.changes}
        for regression in self._before.values():
            self._open[regression.id] = self._continued(regression)
        for finding in examination.findings:
            if finding.kind is FindingKind.REGRESSED:
                own = finding.scope in (Scope.SERIES, Scope.VARIANT)  # of the others, the device's part is what changed
                self._take(finding, "worse", [self._member(change, own) for change in finding.members])
            elif finding.kind is FindingKind.MISSING:
                self._take(finding, "missing", self._missing(finding.members))
        changed = [each for id, each in self._open.items() if each != self._before[id]]
        return Outcome(tuple(self._new), tuple(changed))

    # --- those known ----------------------------------------------------------------------------------

    def _continued(self, regression: Regression) -> Regression:
        if regression.state not in _SETTLED:
            return regression  # it is being measured once more: that decides
        shown = [shows for member in regression.members if (shows := self._shows(regression, member)) is not None]
        if not shown:
            return regression
        if sum(shown) * 2 >= len(shown):
            return regression.model_copy(update={"seen_night_id": self._night.id, "changed_at": self._at})
        return regression.model_copy(
            update={
                "state": RegressionState.ENDED if regression.state.open else regression.state,
                "ended_night_id": self._night.id,
                "changed_at": self._at,
            }
        )

    def _shows(self, regression: Regression, member: Member) -> bool | None:
        """Whether the series is still as it became; None where the night cannot tell."""
        line = self._lines.get(_series(member.key))
        if line is None:
            return None
        tonight = line.points[-1]
        if regression.kind == "missing":
            return _lacks(tonight, member.key.metric)
        figure = tonight.figures.get(member.key.metric) if tonight and tonight.trusted else None
        if figure is None or member.before is None or member.now is None:
            return None
        before, became, value = member.before.value, member.now.value, figure.value
        own, levels = self._own.get(member.key), own_levels(member)
        if own is not None and levels is not None:
            (before, became), value = levels, own
        score = quantity(member.key.metric).score
        return distance(value, became, score) <= distance(value, before, score)

    # --- what the night found -------------------------------------------------------------------------

    def _take(self, finding: Finding, kind: RegressionKind, members: Sequence[Member]) -> None:
        members = [member for member in members if _trial(member) not in self._refuted]
        fresh = [member for member in members if not self._covered(kind, member)]
        if not fresh:
            return
        if older := next((each for each in self._open.values() if self._same(each, kind, fresh)), None):
            self._open[older.id] = self._extended(older, finding, fresh)
        else:
            self._new.append(self._regression(finding, kind, fresh))

    def _covered(self, kind: RegressionKind, member: Member) -> bool:
        """Whether a regression that lasts has the series, and nothing is to be added; or one that this night has ended,
        though the nights before it still make a step."""
        for each in self._open.values():
            if each.kind == kind and each.ended_night_id in (None, self._night.id) and not self._to_be_tried(each):
                for known in each.members:
                    if known.key == member.key and not went_on(known, member):
                        return True
        return False

    def _to_be_tried(self, regression: Regression) -> bool:
        """It could not be measured again, and is still there: once more, then."""
        return regression.state is RegressionState.UNCONFIRMED and regression.seen_night_id == self._night.id

    def _same(self, regression: Regression, kind: RegressionKind, members: Sequence[Member]) -> bool:
        if regression.kind != kind or not regression.state.open:
            return False
        if self._to_be_tried(regression):
            return bool({member.key for member in regression.members} & {member.key for member in members})
        mine, theirs = (
            {_but_device(each.key) for each in regression.members},
            {_but_device(each.key) for each in members},
        )
        known = {member.key for member in regression.members}
        return mine == theirs and not any(member.key in known for member in members)

    def _extended(self, regression: Regression, finding: Finding, fresh: Sequence[Member]) -> Regression:
        if self._to_be_tried(regression):
            anew = self._regression(finding, regression.kind, fresh)
            kept = {"id": regression.id, "created_at": regression.created_at, "since": regression.since or anew.since}
            return anew.model_copy(update=kept)
        return regression.model_copy(
            update={
                "members": (*regression.members, *fresh)[:MOST_MEMBERS],
                "affected": tuple(sorted({*regression.affected, *(member.key.device for member in fresh)})),
                "unaffected": tuple(
                    device for device in regression.unaffected if device not in {each.key.device for each in fresh}
                ),
                "seen_night_id": self._night.id,
                "changed_at": self._at,
            }
        )

    def _regression(self, finding: Finding, kind: RegressionKind, members: Sequence[Member]) -> Regression:
        first = members[0]
        worst = next((each for each in finding.members if each.key == first.key), finding.members[0])
        affected = tuple(sorted({member.key.device for member in members}))
        return Regression(
            id=0,
            kind=kind,
            scope=finding.scope.value if len({_series(member.key) for member in members}) > 1 else "series",
            key=first.key,
            virtual=any(point.virtual for point in self._lines[_series(first.key)].points if point),
            night_id=self._night.id,
            seen_night_id=self._night.id,
            # A result that is not there needs no second look.
            state=RegressionState.SUSPECTED if kind == "worse" else RegressionState.CONFIRMED,
            reason=finding.text if kind == "worse" else self._why(members),
            baseline=worst.baseline,
            members=tuple(members[:MOST_MEMBERS]),
            since=_since(worst, self._lines[_series(worst.key)].points),
            affected=affected,
            unaffected=tuple(device for device in finding.unaffected if device not in affected),
            created_at=self._at,
            changed_at=self._at,
        )

    def _why(self, members: Sequence[Member]) -> str:
        reasons = list(dict.fromkeys(self._why_one(_series(member.key)) for member in members))
        return "; ".join(reasons[:3]) + (f"; and {len(reasons) - 3} more reasons" if len(reasons) > 3 else "")

    def _why_one(self, series: Series) -> str:
        """What its job says; of one that has a result, what is wrong with that."""
        if self._lines[series].points[-1] is None:
            return self._why_missing(series)
        return "; ".join(self._said.get(series, ()))

    def _member(self, change: Change, own: bool) -> Member:
        line = self._lines[_series(change.key)]
        points = [point for point in (*line.points, line.pinned) if point]
        by_job = {point.job_id: point for point in points}
        new = by_job.get(change.job_id) if change.job_id is not None else line.points[-1]
        old = _old(change, points, by_job, new, _since(change, line.points))
        return Member(
            key=change.key,
            before=change.before,
            now=change.now,
            change=change.change,
            own_change=change.own_change if own and change.own_before is not None else None,
            own_before=change.own_before if own else None,
            noise_ratio=change.noise_ratio,
            limit=change.limit,
            old=origin_of(old, self._nights) if old else None,
            new=origin_of(new, self._nights) if new else None,
        )

    def _missing(self, changes: Iterable[Change]) -> list[Member]:
        """A series once, however many metrics of it are missing."""
        members = {}
        for change in changes:
            line = self._lines[_series(change.key)]
            last = next((point for point in reversed(line.points[:-1]) if point), None)
            whole = _lacks(line.points[-1], MISSING_METRIC)
            key = change.key.model_copy(update={"metric": MISSING_METRIC}) if whole else change.key
            self._said.setdefault(_series(key), change.reasons)
            members[key] = Member(key=key, old=origin_of(last, self._nights) if last else None)
        return list(members.values())


def _since(change: Change, points: Sequence[HistoryPoint | None]) -> datetime | None:
    """When the first night was measured that is as it became: from the change-point on, which is found to a night or
    two; without one, of the nights at the end that are nearer to now than to before."""
    if change.before is None or change.now is None:
        return change.since
    metric, score = change.key.metric, quantity(change.key.metric).score
    since = None
    for point in reversed(points):
        figure = point.figures.get(metric) if point else None
        if point is None or figure is None:
            continue
        if change.since is not None and point.measured_at < change.since:
            break
        if distance(figure.value, change.now.value, score) < distance(figure.value, change.before.value, score):
            since = point.measured_at
        elif change.since is None:
            break
    return since or change.since


def _old(
    change: Change,
    points: Collection[HistoryPoint],
    by_job: Mapping[int, HistoryPoint],
    new: HistoryPoint | None,
    since: datetime | None,
) -> HistoryPoint | None:
    """What the new one is measured against: the last that is trusted from before the series changed, where that is
    known; else the baseline's."""
    if since is not None:
        before = [point for point in points if point.trusted and point.measured_at < since]
        if before:
            return max(before, key=lambda point: point.measured_at)
    if change.baseline_job_id is not None and change.baseline_job_id in by_job:
        return by_job[change.baseline_job_id]
    earlier = [point for point in points if point.trusted and point is not new]
    return max(earlier, key=lambda point: point.measured_at, default=None)


def _series(key: SeriesKey) -> Series:
    return Series(key.variant, key.device, key.scenario)


def _but_device(key: SeriesKey) -> SeriesKey:
    return key.model_copy(update={"device": "any"})


def _trial(member: Member) -> tuple[object, ...]:
    """What measuring it once more compares."""
    builds = (member.old.build_key if member.old else None, member.new.build_key if member.new else None)
    return (member.key, *builds)


def _lacks(point: HistoryPoint | None, metric: str) -> bool:
    if point is None or point.verdict == VerdictLevel.INVALID:
        return True
    return metric != MISSING_METRIC and metric not in point.figures
