"""Old and new in turns on one device: in which order, how often, and what that says. Pure functions.

The order is old, new, new, old: the double substitution of weighing (NISTIR 6969, SOP 4), in which a linear drift, as
of a battery that empties or a room that warms, adds as much to the one as to the other and cancels. A random order
(A. Abedi and T. Brecht, "Conducting Repeatable Experiments in Highly Variable Cloud Computing Environments", ICPE 2017)
does so on average only, which a handful of pairs is too few for. Every measurement is a process of its own, because
that is the level at which most of the variation arises (T. Kalibera and R. Jones, "Rigorous Benchmarking in Reasonable
Time", ISMM 2013); so a pair counts as one observation, however many samples it holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean, stdev
from typing import Literal

from farm.analysis.quantities import Quantity
from farm.types import Estimate, Pair, RegressionState

CONFIDENCE = 0.95
FEWEST_PAIRS, MOST_PAIRS = 4, 8  # of figures with noise; 16 jobs are what a device's queue keeps together
USUAL_PAIRS = 6
EXACT_PAIRS = 2  # of figures that repeat: they show whether these do
ENOUGH_PAIRS = 3  # of those asked for, where some came to nothing

# The same artifact gives the same figure each time, on every device.
_REPEATED = frozenset({"artifact_size"})

Which = Literal["old", "new"]


def repeats(quantity: Quantity) -> bool:
    """Whether measuring an artifact once more gives the same figure."""
    return quantity.score or quantity.name in _REPEATED


def order(pairs: int) -> Iterator[tuple[Which, Which]]:
    """Pairs in the order of time: old new, new old, old new, …"""
    for number in range(pairs):
        yield ("old", "new") if number % 2 == 0 else ("new", "old")


def pairs_for(effect_ratio: float, noise_ratio: float | None) -> int:
    """The fewest that make the interval of the change at most half as wide to either side as the change itself.

    ``effect_ratio``: how far from no change (0.03: 3 %). ``noise_ratio``: two measurements of one artifact differ by
    less in 95 of 100 cases; None: it is not known.
    """
    from scipy.stats import t

    if noise_ratio is None:
        return USUAL_PAIRS
    deviation = noise_ratio / 1.96  # of the difference within a pair
    for pairs in range(FEWEST_PAIRS, MOST_PAIRS, 2):
        half_width = float(t.ppf((1 + CONFIDENCE) / 2, pairs - 1)) * deviation / math.sqrt(pairs)
        if half_width <= abs(effect_ratio) / 2:
            return pairs
    return MOST_PAIRS


def change_of(pairs: Sequence[Pair], quantity: Quantity) -> Estimate:
    """New over old (scores: new minus old) with the interval of Student's t over the pairs' log ratios (differences).

    Two pairs or more; for ratios all figures are positive.
    """
    from scipy.stats import t

    if quantity.score:
        changes = [pair.now - pair.before for pair in pairs]
    else:
        changes = [math.log(pair.now / pair.before) for pair in pairs]
    middle = fmean(changes)
    quantile = float(t.ppf((1 + CONFIDENCE) / 2, len(changes) - 1))
    half_width = quantile * stdev(changes) / math.sqrt(len(changes))
    ends = (middle, middle - half_width, middle + half_width)
    value, low, high = ends if quantity.score else tuple(math.exp(end) for end in ends)
    return Estimate(value=value, low=low, high=high)


def ranged(figures: Sequence[float]) -> Estimate:
    """The mean, within the smallest and the largest."""
    low, high = min(figures), max(figures)
    return Estimate(value=min(max(fmean(figures), low), high), low=low, high=high)


def worsening(change: Estimate, quantity: Quantity) -> Estimate:
    """How much for the worse, from 0 on: of ratios as a share of the figure before, of scores absolute."""
    low, value, high = (
        (each if quantity.score else each - 1) * (-1 if quantity.higher_is_better else 1)
        for each in (change.low, change.value, change.high)
    )
    return Estimate(value=value, low=min(low, high), high=max(low, high))


def judged(change: Estimate, quantity: Quantity, limit: float) -> RegressionState:
    """By what of no change and the limit the interval of the change holds.

    Surely worse, and a change as large as the limit is not ruled out: confirmed. The limit is ruled out: refuted.
    Neither is ruled out: it cannot be told. The night has found the change to be beyond the limit already, so that this
    asks for no second proof of that, or a change just beyond would pass as often as not.
    """
    worse = worsening(change, quantity)
    if worse.high < limit:
        return RegressionState.REFUTED
    return RegressionState.CONFIRMED if worse.low > 0 else RegressionState.UNCONFIRMED
