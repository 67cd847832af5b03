"""The ratio of two independent figures, with its confidence interval. Pure and light: the client uses it."""

from __future__ import annotations

import math

from farm.errors import InternalError
from farm.types import Estimate


def ratio(numerator: Estimate, denominator: Estimate) -> Estimate:
    """``numerator / denominator`` of two positive, independent estimates of the same confidence.

    MOVER, the method of variance estimates recovery, on the log scale: each figure's own distance to its
    limits stands for its standard error, added in squares. It needs no normality of the figures, so it takes
    the asymmetric limits of order statistics as they are. Sources: G. Y. Zou and A. Donner, "Construction of
    confidence limits about effect measures: a general approach", Statistics in Medicine 27 (2008) 1693-1702;
    A. Donner and G. Y. Zou, "Closed-form confidence intervals for functions of the normal mean and standard
    deviation", Statistical Methods in Medical Research 21 (2012) 347-359.

    Raises InternalError when a figure or limit is not positive.
    """
    if min(numerator.low, numerator.value, denominator.low, denominator.value) <= 0:
        raise InternalError(
            f"No ratio of {numerator} and {denominator}: both must be positive.",
            remedy="Report it: a duration or size of zero must never reach a comparison.",
        )
    log_ratio = math.log(numerator.value / denominator.value)
    below = math.hypot(math.log(numerator.value / numerator.low), math.log(denominator.high / denominator.value))
    above = math.hypot(math.log(numerator.high / numerator.value), math.log(denominator.value / denominator.low))
    return Estimate(
        value=numerator.value / denominator.value, low=math.exp(log_ratio - below), high=math.exp(log_ratio + above)
    )


def differs(quotient: Estimate) -> bool:
    """Whether the two figures are distinguishable: the interval of their ratio leaves out 1."""
    return not quotient.low <= 1 <= quotient.high
