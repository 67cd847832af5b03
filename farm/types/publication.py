"""What is told to Prometheus of a result, or of a run that ended."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from farm.types.base import Frozen


class Point(Frozen):
    """``labels``: beside the name and those of the publication."""

    name: str
    value: float
    labels: dict[str, str] = {}


class Publication(Frozen):
    """``subject``: id of the job or run. All points are of the time ``at``, to the millisecond."""

    kind: Literal["result", "run"]
    subject: int
    at: datetime
    labels: dict[str, str]
    points: tuple[Point, ...]


class OutboxEntry(Frozen):
    """A publication that waits, or was refused for good. ``reason``: why it was refused, or not taken last time."""

    id: int
    kind: Literal["result", "run"]
    subject: int
    at: datetime
    queued_at: datetime
    state: Literal["pending", "dead"]
    reason: str


class DayCheck(Frozen):
    """Results of one day (UTC) in the database, without those that were refused, and how many of them Prometheus has
    with all their series."""

    day: str
    expected: int
    found: int
    checked_at: datetime
