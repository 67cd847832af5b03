"""What got worse between two nights, how that is known, and since when."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

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
    REFUTED = "refuted"  # the old artifact is as slow by now, or the difference went away
    UNCONFIRMED = "unconfirmed"  # it could not be measured again; ``reason`` says why


class Evidence(Frozen):
    """Old and new in turns on one device. ``change``: new over old (scores: new minus old)."""

    run_id: int
    pairs: int
    before: Estimate
    now: Estimate
    change: Estimate


class BisectionStep(Frozen):
    """``change`` against the version before, None where the version could not be measured (``reason``)."""

    version: str
    run_id: int | None
    change: Estimate | None
    worse: bool | None
    reason: str = ""


class Bisection(Frozen):
    """Between a good and a bad version. ``culprit``: the first bad one, once it is known."""

    good: str
    bad: str
    candidates: tuple[str, ...]  # between them, the oldest first, that may be the culprit; the bad one is the last
    steps: tuple[BisectionStep, ...] = ()
    culprit: str | None = None
    reason: str = ""  # why it ended without one


class Regression(Frozen):
    """``change``: now over before (scores: now minus before). ``noise_ratio``: how much repeated measurements of one
    artifact differ on this device (95 % of them by less). ``since``: the night that the series changed at, where a
    change-point was found. ``unaffected``: devices whose series did not change."""

    id: int
    key: SeriesKey
    night_id: int
    state: RegressionState
    reason: str = ""
    before: Estimate
    now: Estimate
    change: Estimate
    limit: float
    noise_ratio: float | None
    baseline: str  # in words
    baseline_job_id: int | None
    job_id: int
    since: datetime | None = None
    affected: tuple[Name, ...] = ()
    unaffected: tuple[Name, ...] = ()
    evidence: Evidence | None = None
    bisection: Bisection | None = None
    created_at: datetime
    changed_at: datetime
