"""Devices that a night found to be noisy, against those that are known to be. Pure.

There is nothing to measure once more: each is opened once, goes on while it lasts, and ends when the device is quiet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from farm.analysis.regression import Examination, Finding, FindingKind, Line
from farm.sweeps.findings import Outcome
from farm.sweeps.lines import Series, origin_of
from farm.types import Member, Night, Regression, RegressionState

_METRIC = "latency_p50"


def floor(found: Examination) -> dict[str, float]:
    """By device: how much the median latency of one artifact differs from night to night (95 % by less)."""
    return {device: ratio for (device, metric), ratio in found.noise.items() if metric == _METRIC}


def weigh(
    night: Night,
    nights: Sequence[Night],
    lines: Sequence[Line],
    known: Sequence[Regression],
    found: Examination,
    at: datetime,
) -> Outcome:
    """``known``: those that last, also those closed: a phone is noisy for weeks, and who has closed that hears of it
    once it has been quiet."""
    noisy = {str(finding.device): finding for finding in found.of(FindingKind.NOISY)}
    changed = []
    for each in known:
        device = each.key.device
        if device in noisy:
            changed.append(each.model_copy(update={"seen_night_id": night.id, "changed_at": at}))
        elif device in found.quiet:
            state = RegressionState.ENDED if each.state.open else each.state
            changed.append(each.model_copy(update={"state": state, "ended_night_id": night.id, "changed_at": at}))
    devices = {each.key.device for each in known}
    by_series = {Series(line.variant, line.device, line.scenario): line for line in lines}
    by_id = {each.id: each for each in nights}
    # One without a member was not measured tonight: a night on which it is tells of it.
    fresh = [finding for device, finding in noisy.items() if device not in devices and finding.members]
    return Outcome(tuple(_opened(finding, night, by_series, by_id, at) for finding in fresh), tuple(changed))


def _opened(
    finding: Finding, night: Night, lines: Mapping[Series, Line], nights: Mapping[int, Night], at: datetime
) -> Regression:
    key = finding.members[0].key
    points = lines[Series(key.variant, key.device, key.scenario)].points
    tonight = points[-1]
    return Regression(
        id=0,
        kind="noisy",
        scope="device",
        key=key,
        virtual=any(point.virtual for point in points if point),
        night_id=night.id,
        seen_night_id=night.id,
        state=RegressionState.CONFIRMED,
        reason=finding.text,
        members=(
            Member(key=key, noise_ratio=finding.noise_ratio, new=origin_of(tonight, nights) if tonight else None),
        ),
        affected=(key.device,),
        created_at=at,
        changed_at=at,
    )
