"""What a series was and became, and how far a figure is from either. Pure."""

from __future__ import annotations

import math

from farm.analysis.interleaved import worsening
from farm.analysis.quantities import quantity
from farm.types import Estimate, Member


def went_on(known: Member, member: Member) -> bool:
    """Whether it is worse by the limit once more than it was found to be, beyond the noise."""
    if known.now is None or member.now is None or member.limit is None:
        return False
    before, now = known.now.value, member.now.value
    if (known_levels := own_levels(known)) and (levels := own_levels(member)):
        before, now = known_levels[1], levels[1]
    asked = quantity(known.key.metric)
    if not asked.score and min(before, now) <= 0:
        return False
    change = now - before if asked.score else now / before
    exactly = Estimate(value=change, low=change, high=change)
    return worsening(exactly, asked).value > member.limit + (member.noise_ratio or 0.0)


def own_levels(member: Member) -> tuple[float, float] | None:
    """What it was before and became, without what its device did."""
    if member.own_before is None or member.own_change is None:
        return None
    before, change = member.own_before, member.own_change.value
    return before, before + change if quantity(member.key.metric).score else before * change


def distance(one: float, other: float, score: bool) -> float:
    if score or min(one, other) <= 0:
        return abs(one - other)
    return abs(math.log(one / other))
