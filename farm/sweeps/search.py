"""Which version to try next, between a good and a bad one. Pure.

As ``git bisect`` does with ``skip``: a version that cannot be measured is passed over for the nearest that can.
"""

from __future__ import annotations

from datetime import datetime

from farm.errors import ConflictError
from farm.types import Bisection, Regression, RegressionState

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


def begun_again(regression: Regression, at: datetime) -> Regression:
    """To search on: with what its ended search measured, without what it could not; from the beginning, with what the
    source says then, where that leaves nothing to try. Raises ConflictError where there is nothing to begin again."""
    found = regression.bisection
    if regression.state is not RegressionState.CONFIRMED or regression.kind != "worse":
        what = f"is {regression.state}, and of kind '{regression.kind}'"
        raise _conflict(regression, what, "Searched is for what made something worse, once that is confirmed.")
    if found is None:
        raise _conflict(regression, "has not been searched for yet", "Wait: its search begins by itself.")
    if found.culprit is not None:
        raise _conflict(regression, f"came with {found.culprit}", "Nothing is left to search for.")
    if not found.over:
        raise _conflict(
            regression, "is being searched for", f"Wait: farm regressions show {regression.id} says how far it is."
        )
    measured = tuple(step for step in found.steps if step.worse is not None)
    left = found.model_copy(update={"steps": measured, "reason": ""})
    bisection = left if next_version(left) is not None else None
    return regression.model_copy(update={"bisection": bisection, "changed_at": at})


def _conflict(regression: Regression, what: str, remedy: str) -> ConflictError:
    return ConflictError(f"Regression {regression.id} {what}.", remedy=remedy)
