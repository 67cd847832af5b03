"""What got worse between two nights, how that is known, and since when."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from farm.types.base import Estimate, Frozen, Name, Sha256


class SeriesKey(Frozen):
    """One line of a sweep's history."""

    sweep: Name
    variant: Name
    device: Name
    scenario: str
    metric: Name

    def __str__(self) -> str:
        return f"{self.metric} of {self.variant} on {self.device}, {self.scenario}"


class HistoryPoint(Frozen):
    """One result, as little of it as comparisons over months need: it stays when the run is deleted.

    ``figures`` by metric (``farm.analysis.quantities``); a figure without an interval has low = value = high.
    """

    job_id: int
    run_id: int
    night_id: int | None
    model_name: Name
    model_id: Sha256
    variant: Name
    build_key: Sha256
    device_id: Name
    scenario: str
    virtual: bool
    trusted: bool
    verdict: str
    reasons: tuple[str, ...] = ()  # codes
    measured_at: datetime
    figures: dict[str, Estimate]


class MissingNight(Frozen):
    """A night of a sweep that left no result in a series which other nights of it have. ``reason``: why, if known."""

    night_id: int
    sweep: Name
    due_at: datetime
    run_id: int | None
    reason: str


class RegressionState(StrEnum):
    SUSPECTED = "suspected"
    CONFIRMING = "confirming"  # measured once more, in turns with the artifact before
    CONFIRMED = "confirmed"
    REFUTED = "refuted"  # in turns with the old artifact the difference is not there, or below the limit
    UNCONFIRMED = "unconfirmed"  # it could not be measured again; ``reason`` says why
    ENDED = "ended"  # a later night is as good as before
    CLOSED = "closed"  # by a person; ``reason`` says who and why

    @property
    def open(self) -> bool:
        """Whether later nights continue it."""
        return self in (
            RegressionState.SUSPECTED,
            RegressionState.CONFIRMING,
            RegressionState.CONFIRMED,
            RegressionState.UNCONFIRMED,
        )


# ``worse``: a figure is worse by more than its limit. ``missing``: a result that was there on the nights before is not.
# ``noisy``: repeated measurements on a device differ far more than on the others, or than they did there before.
RegressionKind = Literal["worse", "missing", "noisy"]
# One variant on one device; one variant on most devices; most variants of one device; most of everything.
RegressionScope = Literal["series", "variant", "device", "night"]


class Origin(Frozen):
    """What a figure was measured with. ``version``: of the model at its source."""

    job_id: int
    run_id: int
    night_id: int | None
    version: str = ""
    model_id: Sha256
    build_key: Sha256


class Pair(Frozen):
    """One measurement of each artifact, next to each other in time."""

    before_job_id: int
    now_job_id: int
    before: float
    now: float


class Member(Frozen):
    """A series that shows it, of one metric. ``change``: now over before (scores: now minus before). ``noise_ratio``:
    how much repeated measurements of one artifact differ on its device (95 % of them by less). ``new`` is absent where
    the result is missing.

    ``own_change`` and ``own_before``: as ``change`` and ``before``, without what all variants of the device did alike
    that night; absent where too few of them tell, and where it is the device that changed."""

    key: SeriesKey
    before: Estimate | None = None
    now: Estimate | None = None
    change: Estimate | None = None
    own_change: Estimate | None = None
    own_before: float | None = None
    noise_ratio: float | None = None
    limit: float | None = None
    old: Origin | None = None
    new: Origin | None = None


class Evidence(Frozen):
    """Old and new in turns on one device, in the order of time. ``change``: new over old (scores: new minus old), with
    its 95 % interval; ``before`` and ``now`` are means of the pairs, within their ranges. All three are absent where
    too few pairs came to something; ``reason`` says why."""

    run_id: int
    key: SeriesKey
    pairs: tuple[Pair, ...]
    before: Estimate | None = None
    now: Estimate | None = None
    change: Estimate | None = None
    outcome: RegressionState
    reason: str


class BisectionStep(Frozen):
    """``change`` against the good version, None where the version could not be measured (``reason``)."""

    version: str
    run_id: int | None
    change: Estimate | None
    worse: bool | None
    reason: str = ""


class Bisection(Frozen):
    """Between a good and a bad version. ``culprit``: the first bad one, once it is known. ``run_id``: of the step that
    is being measured, of ``trying``."""

    good: str
    bad: str
    candidates: tuple[
        str, ...
    ]  # after the good one, the oldest first, that may be the culprit; the bad one is the last
    steps: tuple[BisectionStep, ...] = ()
    trying: str | None = None
    run_id: int | None = None
    culprit: str | None = None
    reason: str = ""  # why it ended without one

    @property
    def over(self) -> bool:
        return self.culprit is not None or bool(self.reason)


class Regression(Frozen):
    """What a night found; all that changed alike is one. ``key``: the series that shows it most; ``members``: those
    that show it, that one first (of very many, the first). ``since``: when the first night was measured that is as it
    became. ``seen_night_id``: the last night that showed it. ``unaffected``: devices that measured the same, and where
    such a change is ruled out.

    Where ``kind`` is ``missing``, there are no figures, and where all of a result is, the metric is ``result``. Where
    it is ``noisy``, it is about ``key.device``; the series is the one that differs most there.
    """

    id: int
    kind: RegressionKind = "worse"
    scope: RegressionScope = "series"
    key: SeriesKey
    virtual: bool = False
    night_id: int
    seen_night_id: int
    state: RegressionState
    reason: str = ""
    baseline: str = ""  # in words
    members: tuple[Member, ...] = Field(min_length=1)
    since: datetime | None = None
    affected: tuple[Name, ...] = ()
    unaffected: tuple[Name, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    bisection: Bisection | None = None
    ended_night_id: int | None = None
    created_at: datetime
    changed_at: datetime

    @property
    def worst(self) -> Member:
        return self.members[0]

    @property
    def limit(self) -> float | None:
        return self.worst.limit
