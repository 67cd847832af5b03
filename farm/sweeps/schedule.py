"""When the nights of a sweep are due, and what becomes of those that passed. Pure: no clock, no store.

The rule: every local time that the cron expression matches is one night. A local time that a change of the clock leaves
out runs when the clock has jumped; one that comes twice runs the first time. So an expression is matched against a
calendar without time zones only, and what a cron library makes of daylight saving time does not matter (by itself,
cronsim runs ``0,30 2 * * *`` twice at the same moment in spring, and ``*/30 * * * *`` twice in an hour that comes
twice). cronsim is what healthchecks.io runs on and keeps up: small, pure, and it says which field is wrong.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from farm.errors import UserError
from farm.suggestion import did_you_mean
from farm.types import Schedule

ON_TIME = timedelta(minutes=15)  # later than that, a night was missed
AT_ONCE = 200  # nights that are judged together: of a farm that was away for long, some at a time
_FIELDS = 5
_ANY_DAY = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class DueNight:
    """``runs``: else it is put on record as skipped, with the ``reason``."""

    due_at: datetime
    trigger: Literal["schedule", "missed"]
    runs: bool
    reason: str = ""


@dataclass(frozen=True)
class Settlement:
    """``next_at``: the first due time that is not among ``nights``; None where the schedule never comes again."""

    nights: tuple[DueNight, ...]
    next_at: datetime | None


def check(schedule: Schedule) -> None:
    """Raises UserError; its ``details["key"]`` is the field that is wrong."""
    _zone(schedule.timezone)
    if len(schedule.cron.split()) != _FIELDS:
        raise _bad_cron(schedule.cron, f"it has {len(schedule.cron.split())} fields, not {_FIELDS}")
    try:
        next(CronSim(schedule.cron, _ANY_DAY))
    except CronSimError as error:
        raise _bad_cron(schedule.cron, str(error)[:1].lower() + str(error)[1:]) from error
    except StopIteration as error:
        raise _bad_cron(schedule.cron, "no day is ever like that") from error


def upcoming(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """Due times in UTC, each once, in their order, later than ``after``. Raises UserError as ``check``."""
    zone = _zone(schedule.timezone)
    # Whatever matches before this local time has come before, or at, the same moment: see ``_moment``.
    local = after.astimezone(zone).replace(tzinfo=None, microsecond=0)
    last = after
    for wall in CronSim(schedule.cron, local - timedelta(seconds=1)):
        moment = _moment(wall, zone)
        if moment > last:
            yield moment
            last = moment


def next_due(schedule: Schedule, after: datetime) -> datetime | None:
    return next(upcoming(schedule, after), None)


def settle(schedule: Schedule, next_at: datetime, now: datetime) -> Settlement:
    """What becomes of the due times from ``next_at``, the first that nothing was done about, until ``now``.

    The last one runs; where it was missed, late or not at all, as the schedule says. Those before it are skipped. Where
    they are very many, only the first of them: ``next_at`` of the answer is not after ``now`` then.
    """
    due: list[datetime] = []
    following: datetime | None = None
    for at in itertools.chain([next_at], upcoming(schedule, next_at)):
        if at > now or len(due) == AT_ONCE:
            following = at
            break
        due.append(at)
    if not due:
        return Settlement((), following)
    complete = following is None or following > now
    older = due[:-1] if complete else due
    nights = [DueNight(at, "missed", runs=False, reason=_OLDER) for at in older]
    if complete:
        nights.append(_last(schedule, due[-1], now))
    return Settlement(tuple(nights), following)


_OLDER = "missed: nothing started it in time, and a later one was due by then"


def _last(schedule: Schedule, at: datetime, now: datetime) -> DueNight:
    if now - at <= ON_TIME:
        return DueNight(at, "schedule", runs=True)
    if schedule.missed == "run":
        return DueNight(at, "missed", runs=True)
    return DueNight(at, "missed", runs=False, reason="missed: nothing started it in time, and its schedule says skip")


def _moment(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first moment that clocks show ``wall`` or, where they jump over it, the moment of the jump.

    Clocks go forward but for jumps, so that this never goes back while ``wall`` goes forward; and whatever clocks show
    now, each earlier local time has had its moment by now."""
    while _jumped_over(wall, zone):
        wall += timedelta(minutes=1)
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def _jumped_over(wall: datetime, zone: ZoneInfo) -> bool:
    return wall.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) != wall


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        near = did_you_mean(name, available_timezones()).lstrip()
        raise UserError(
            f"There is no time zone {name!r}.",
            remedy=near or "Give an IANA name, such as Europe/Berlin or UTC.",
            details={"key": "timezone"},
        ) from error


def _bad_cron(cron: str, why: str) -> UserError:
    return UserError(
        f"{cron!r} is no schedule: {why}.",
        remedy="Give minute, hour, day of the month, month, day of the week: '0 2 * * *' is every night at 2:00, "
        "'30 1 * * MON-FRI' 1:30 on weekdays.",
        details={"key": "cron"},
    )
