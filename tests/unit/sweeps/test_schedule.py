"""Every local time that matches is one night, whatever clocks and the farm's processes do meanwhile."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.errors import UserError
from farm.sweeps.schedule import AT_ONCE, ON_TIME, check, next_due, settle, upcoming
from farm.types import Schedule

# Clocks that jump by an hour, by half an hour, over a whole day, in a month of their own, or never.
CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, tzinfo=UTC)),
    ("Africa/Casablanca", datetime(2026, 2, 15, tzinfo=UTC)),
    ("UTC", datetime(2026, 3, 29, tzinfo=UTC)),
]
MINUTE = timedelta(minutes=1)


def first_moments(zone: str, start: datetime, end: datetime) -> dict[datetime, datetime]:
    """Of each local minute the first moment that clocks show it, or jump over it: looked at minute by minute."""
    found: dict[datetime, datetime] = {}
    last = (start - MINUTE).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    moment = start
    while moment < end:
        wall = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        while last < wall:
            last += MINUTE
            found[last] = moment
        moment += MINUTE
    return found


@settings(max_examples=60, deadline=None)
@given(
    change=st.sampled_from(CHANGES),
    minutes=st.sets(st.integers(0, 59), min_size=1, max_size=3),
    hours=st.one_of(st.none(), st.sets(st.integers(0, 23), min_size=1, max_size=4)),
    after_minutes=st.integers(0, 36 * 60),
)
def test_every_local_time_is_one_night(change, minutes, hours, after_minutes: int) -> None:
    zone, day = change
    start, end = day - timedelta(days=2), day + timedelta(days=2)
    after = start + timedelta(minutes=after_minutes)
    hour_field = "*" if hours is None else ",".join(map(str, hours))
    schedule = Schedule(cron=f"{','.join(map(str, minutes))} {hour_field} * * *", timezone=zone)
    expected = {
        moment
        for wall, moment in first_moments(zone, start, end).items()
        if wall.minute in minutes and (hours is None or wall.hour in hours) and moment > after
    }
    due = list(itertools.takewhile(lambda at: at < end, upcoming(schedule, after)))
    assert due == sorted(expected)


@pytest.mark.parametrize(
    ("cron", "zone", "after", "due"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-29T01:00"),  # 2:00 to 3:00 is left out
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", "2026-10-25T00:30"),  # 2:30 comes twice
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30", "2026-10-26T01:30"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:00", "2026-10-26T01:30"),
        ("0 12 * * *", "Pacific/Apia", "2011-12-30T00:00", "2011-12-30T10:00"),  # a day that never was
        ("0 3 * * MON-FRI", "America/New_York", "2026-07-03T12:00", "2026-07-06T07:00"),
    ],
)
def test_around_changes_of_the_clock(cron: str, zone: str, after: str, due: str) -> None:
    at = next_due(Schedule(cron=cron, timezone=zone), datetime.fromisoformat(after).replace(tzinfo=UTC))
    assert at == datetime.fromisoformat(due).replace(tzinfo=UTC)


@settings(max_examples=60, deadline=None)
@given(
    change=st.sampled_from(CHANGES),
    cron=st.sampled_from(["30 2 * * *", "*/20 * * * *", "0,30 1-3 * * *", "15 */5 * * *", "* * * * *", "0 2 * * SUN"]),
    missed=st.sampled_from(["run", "skip"]),
    pauses_minutes=st.lists(
        st.one_of(st.floats(0.01, 2), st.floats(5, 90), st.floats(60, 3000)), min_size=1, max_size=12
    ),
    crashes=st.sets(st.integers(0, 40)),
)
def test_none_twice_and_none_lost_whenever_somebody_looks(change, cron, missed, pauses_minutes, crashes) -> None:
    """A crash comes before what was found is on record: then it is found again."""
    zone, day = change
    schedule = Schedule(cron=cron, timezone=zone, missed=missed)
    begin = now = day - timedelta(hours=20)
    next_at = next_due(schedule, begin)
    assert next_at is not None
    recorded = []
    looks = 0
    for pause in pauses_minutes:
        now += timedelta(minutes=pause)
        while next_at <= now:
            settlement = settle(schedule, next_at, now)
            looks += 1
            if looks - 1 in crashes:
                continue
            recorded += settlement.nights
            for night in settlement.nights:
                assert night.runs or night.reason
                late = now - night.due_at > ON_TIME
                assert night.runs is False or night.trigger == ("missed" if late else "schedule")
                assert not (night.runs and late and missed == "skip")
            assert sum(night.runs for night in settlement.nights) <= 1
            next_at = settlement.next_at
            assert next_at is not None
    due = list(itertools.takewhile(lambda at: at <= now, upcoming(schedule, begin)))
    assert [night.due_at for night in recorded] == due
    if due and now - due[-1] <= ON_TIME:
        assert recorded[-1].runs


def test_a_farm_that_was_away_for_long_takes_some_nights_at_a_time() -> None:
    schedule = Schedule(cron="* * * * *")
    first = datetime(2026, 1, 1, tzinfo=UTC)
    settlement = settle(schedule, first, first + timedelta(days=1))
    assert len(settlement.nights) == AT_ONCE
    assert not any(night.runs for night in settlement.nights)
    assert settlement.next_at == first + AT_ONCE * MINUTE


@pytest.mark.parametrize(
    ("cron", "says"),
    [
        ("0 2 * * 8", "bad day-of-week"),
        ("61 2 * * *", "bad minute"),
        ("0 2 * * * *", "6 fields"),
        ("every night", "2 fields"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("0 25 * * *", "bad hour"),
    ],
)
def test_what_is_no_schedule(cron: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        check(Schedule(cron=cron))
    assert caught.value.details["key"] == "cron"


@pytest.mark.parametrize("name", ["Europe/Berln", "", "../etc/passwd", "a\0b", "Mars/Olympus"])
def test_what_is_no_time_zone(name: str) -> None:
    with pytest.raises(UserError, match="no time zone") as caught:
        check(Schedule(cron="0 2 * * *", timezone=name))
    if name == "Europe/Berln":
        assert "Europe/Berlin" in caught.value.remedy
