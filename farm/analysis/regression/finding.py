"""What a night is judged by, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from farm.types import Estimate, HistoryPoint, SeriesKey


@dataclass(frozen=True)
class Line:
    """One variant on one device in one scenario, a point a night, the oldest first; the last is of the night examined.

    None: no result that night. All lines of a night have the same number of points. ``pinned``: what the pinned run
    measured of it.
    """

    sweep: str
    variant: str
    device: str
    scenario: str
    points: tuple[HistoryPoint | None, ...]
    pinned: HistoryPoint | None = None

    def key(self, metric: str) -> SeriesKey:
        return SeriesKey(
            sweep=self.sweep, variant=self.variant, device=self.device, scenario=self.scenario, metric=metric
        )


class ChangeKind(StrEnum):
    STEADY = "steady"  # a change for the worse by the limit or more is ruled out
    REGRESSED = "regressed"  # worse beyond the noise, and perhaps by the limit or more
    IMPROVED = "improved"  # better beyond the noise, and perhaps by the limit or more
    UNCLEAR = "unclear"  # neither: the noise hides a change of that size, or there is nothing to compare with
    MISSING = "missing"  # measured on most nights before, and not on this one


@dataclass(frozen=True)
class Change:
    """Of one metric of one line. ``change``: now over before, for scores now minus before; its interval (95 %) holds
    between nights, not only within the run.

    ``own_change``: the same without what the whole device did that night; ``kind`` is by it, or by what the device, or
    the variant on all devices, did. ``own_before`` and ``own_now``: the figures without that, where enough variants of
    the device tell what it did. ``p_value``: over all comparisons of the night. ``noise_ratio``: 95 % of repeated
    measurements of one artifact on the device differ by less (scores: absolute). ``smallest_ratio``: the smallest
    change for the worse that three such nights would show with 95 % probability. ``since``: when the first night
    after the change-point was measured, where there is one. ``reasons``: why nothing more can be said.
    """

    key: SeriesKey
    kind: ChangeKind
    limit: float
    before: Estimate | None = None
    now: Estimate | None = None
    change: Estimate | None = None
    own_change: Estimate | None = None
    own_before: float | None = None
    own_now: float | None = None
    noise_ratio: float | None = None
    smallest_ratio: float | None = None
    p_value: float | None = None
    baseline: str = ""
    baseline_job_id: int | None = None
    job_id: int | None = None
    since: datetime | None = None
    reasons: tuple[str, ...] = ()


class FindingKind(StrEnum):
    REGRESSED = "regressed"
    IMPROVED = "improved"
    MISSING = "missing"
    NOISY = "noisy"


class Scope(StrEnum):
    SERIES = "series"  # one variant on one device
    VARIANT = "variant"  # one variant on most devices that measure it
    DEVICE = "device"  # most variants of one device
    NIGHT = "night"  # most of everything


@dataclass(frozen=True)
class Finding:
    """One thing to tell people: all that changed alike is one. ``device``, ``variant`` and ``scenario`` are None where
    the scope spans several. ``metrics``: all that changed, in the order of the rules, the one that ``change`` and
    ``noise_ratio`` are of first; none for results that are missing.

    ``members``: the changes that it sums up, by metric, the largest first. ``change``: of the first one's, or of the
    device, the variant or the night as a whole.
    ``unaffected``: devices that measured the same variant in the same scenario, and where a change is ruled out.

    Of a noisy device there is one member: the series that differs most of those measured tonight, none if none was.
    """

    kind: FindingKind
    scope: Scope
    metrics: tuple[str, ...]
    device: str | None
    variant: str | None
    scenario: str | None
    change: Estimate | None
    noise_ratio: float | None
    since: datetime | None
    members: tuple[Change, ...]
    unaffected: tuple[str, ...]
    text: str

    @property
    def affected(self) -> tuple[str, ...]:
        return tuple(sorted({member.key.device for member in self.members}))


@dataclass(frozen=True)
class Examination:
    """``changes``: every series of the night. ``comparisons``: how many share the false suspicions of a night.
    ``noise``: by device and metric, as ``Change.noise_ratio``. ``quiet``: devices that are not noisy by
    far: what lies between is neither."""

    changes: tuple[Change, ...]
    findings: tuple[Finding, ...]
    comparisons: int
    noise: Mapping[tuple[str, str], float]
    quiet: frozenset[str] = frozenset()

    def of(self, kind: FindingKind) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.kind is kind)
