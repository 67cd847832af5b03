"""A whole night of a sweep against its history."""

from __future__ import annotations

from collections.abc import Sequence

from farm.analysis.regression.finding import Examination, Line
from farm.types import AlertRule, Baseline


def examine(lines: Sequence[Line], rules: Sequence[AlertRule], baseline: Baseline) -> Examination:
    """What changed on the last night of ``lines``, for the worse or the better, and what is missing.

    Raises UserError for a rule of a metric that there is none of, InternalError for lines of different lengths.
    """
    raise NotImplementedError
