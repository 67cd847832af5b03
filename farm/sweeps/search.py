"""Which version to try next, between a good and a bad one. Pure.

As ``git bisect`` does with ``skip``: a version that cannot be measured is passed over for the nearest that can.
"""

from __future__ import annotations

from farm.types import Bisection

_NAMED = 5  # versions in a sentence


def narrowed(bisection: Bisection) -> tuple[int, int]:
    """Places of the last good version (-1: the good one itself) and of the first bad one among the candidates."""
    place = {version: number for number, version in enumerate(bisection.candidates)}
    good = [place[step.version] for step in bisection.steps if step.worse is False]
    bad = [place[step.version] for step in bisection.steps if step.worse]
    return max(good, default=-1), min([*bad, len(bisection.candidates) - 1])


def next_version(bisection: Bisection) -> str | None:
    """The untried one nearest to the middle of what is left; None where there is none."""
    good, bad = narrowed(bisection)
    tried = {step.version for step in bisection.steps}
    left = [place for place in range(good + 1, bad) if bisection.candidates[place] not in tried]
    middle = (good + bad) / 2
    return bisection.candidates[min(left, key=lambda place: abs(place - middle))] if left else None


def concluded(bisection: Bisection) -> Bisection:
    """With its culprit, or why there is none, once nothing is left to try; else as it is."""
    if bisection.over or next_version(bisection) is not None:
        return bisection
    good, bad = narrowed(bisection)
    if bad - good == 1:
        return bisection.model_copy(update={"culprit": bisection.candidates[bad]})
    if bad <= good:
        reason = "its steps contradict each other: a version after a bad one measured as good"
    else:
        suspects = bisection.candidates[good + 1 : bad + 1]
        shown = ", ".join(version[:12] for version in suspects[:_NAMED])
        more = f" and {len(suspects) - _NAMED} more" if len(suspects) > _NAMED else ""
        reason = f"the first bad version is one of {shown}{more}: those before the last of them could not be measured"
    return bisection.model_copy(update={"reason": reason})
