"""How much worse one program is than another on the same samples, with an interval. Pure functions.

Both saw the same inputs, so their errors go together, and an interval that took the two for independent would be far
too wide: what counts are the samples on which they differ.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.types import Estimate

Indices = NDArray[np.intp]

RESAMPLES = 1000
_FEWEST_RESAMPLES = 200
_BOOTSTRAP_SECONDS = 30.0
TANGO = "score interval for paired proportions (Tango 1998)"


def difference_of_proportions(first_only: int, second_only: int, count: int, confidence: float) -> Estimate:
    """Share of ``count`` samples that the first gets right minus the share that the second does.

    ``first_only``, ``second_only``: how many only the one gets right. The interval holds all differences that the score
    test does not reject: T. Tango, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17 (1998) 891-908. It stays useful where nothing or nearly nothing
    differs, as after a careful quantization, where Wald's interval shrinks to a point.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    z = float(norm.ppf((1 + confidence) / 2))
    value = (first_only - second_only) / count

    def score(difference: float) -> float:
        return _tango(first_only, second_only, count, difference)

    # The statistic falls from positive to negative over the range; where it stays within z the limit is the end.
    low = float(brentq(lambda d: score(d) - z, -1, value)) if score(-1 + 1e-12) > z and value > -1 else -1.0
    high = float(brentq(lambda d: score(d) + z, value, 1)) if score(1 - 1e-12) < -z and value < 1 else 1.0
    return Estimate(value=value, low=min(low, value), high=max(high, value))


def _tango(first_only: int, second_only: int, count: int, difference: float) -> float:
    """Observed minus supposed difference over its standard error, the nuisance parameter at its likeliest."""
    b, c, n, d = first_only, second_only, count, difference
    linear = -b - c + (2 * n - b + c) * d
    constant = -c * d * (1 - d)
    second_share = (math.sqrt(max(0.0, linear**2 - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * second_share + d * (1 - d))
    distance = b - c - n * d
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def bootstrap(
    worse_by: Callable[[Indices], float], count: int, confidence: float, clock: Callable[[], float] = time.monotonic
) -> Estimate | None:
    """``worse_by`` of all samples, with the percentile interval over resamples of them, the same for both programs.

    B. Efron and R. Tibshirani, "An Introduction to the Bootstrap" (1993), section 13.3. The draws are the same every
    time. None where there are too few samples to draw from, or ``worse_by`` is too slow to be asked often enough.
    """
    if count < 2:
        return None
    random, deadline = np.random.default_rng(0), clock() + _BOOTSTRAP_SECONDS
    value = worse_by(np.arange(count))
    drawn: list[float] = []
    while len(drawn) < RESAMPLES and (clock() < deadline):
        drawn.append(worse_by(random.integers(0, count, count)))
    finite: NDArray[Any] = np.asarray([each for each in drawn if math.isfinite(each)])
    if len(finite) < _FEWEST_RESAMPLES or not math.isfinite(value):
        return None
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value))
