"""Notices and regressions to send."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from farm.types import Estimate, Evidence, Member, Notice, Origin, Pair, Regression, RegressionState, SeriesKey
from tests.values import sha256

NOW = datetime(2026, 11, 28, 3, 0, tzinfo=UTC)
GOOD, BAD = "a" * 40, "0123456789abcdef0123456789abcdef01234567"
KEY = SeriesKey(sweep="nightly", variant="int8", device="pixel-8", scenario="single-stream/4t", metric="latency_p50")


def estimate(value: float, half: float = 0.0) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half)


def origin(version: str, night: int) -> Origin:
    return Origin(
        job_id=night * 10, run_id=night, night_id=night, version=version, model_id=sha256("m"), build_key=sha256("b")
    )


def member(key: SeriesKey = KEY) -> Member:
    return Member(
        key=key,
        before=estimate(0.01234, 0.00002),
        now=estimate(0.01360, 0.00003),
        change=estimate(1.102, 0.006),
        noise_ratio=0.008,
        limit=0.03,
        old=origin(GOOD, 29),
        new=origin(BAD, 30),
    )


def regression(**changes: Any) -> Regression:
    fields: dict[str, Any] = {
        "id": 12,
        "key": KEY,
        "night_id": 30,
        "seen_night_id": 30,
        "state": RegressionState.CONFIRMED,
        "baseline": "the median of 14 nights before",
        "members": (member(),),
        "since": NOW,
        "affected": ("pixel-8",),
        "unaffected": ("galaxy-s24", "xperia-1"),
        "evidence": (
            Evidence(
                run_id=31,
                key=KEY,
                pairs=tuple(Pair(before_job_id=n, now_job_id=n + 1, before=0.0123, now=0.0136) for n in range(8)),
                before=estimate(0.0123),
                now=estimate(0.0136),
                change=estimate(1.101, 0.005),
                outcome=RegressionState.CONFIRMED,
                reason="",
            ),
        ),
        "created_at": NOW,
        "changed_at": NOW,
    }
    return Regression(**fields | changes)


def notice(**changes: Any) -> Notice:
    fields: dict[str, Any] = {
        "id": 1,
        "channel": "team",
        "kind": "regression",
        "cause": "regression 12 confirmed",
        "subject": "latency_p50 up 10.2 %: int8 on pixel-8 (sweep nightly)",
        "text": "`latency_p50` of `int8`: **up 10.2 %**\n\n- Allowed: 3 %\n- <script> & @channel",
        "data": {"about": "regression 12", "sweep": "nightly", "commit": BAD, "page": "https://farm.example/r/12"},
        "state": "pending",
        "attempts": 0,
        "queued_at": NOW,
        "next_at": NOW,
    }
    return Notice(**fields | changes)
