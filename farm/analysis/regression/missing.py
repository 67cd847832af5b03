"""Results that were there on most nights before, and are not tonight."""

from __future__ import annotations

from collections.abc import Sequence

from farm.analysis.regression.finding import Change, ChangeKind, Line
from farm.analysis.regression.grid import is_invalid

_NIGHTS = 14
_FEWEST_NIGHTS = 3
_USUAL_SHARE = 0.6


def missing(lines: Sequence[Line], metrics: Sequence[str]) -> list[Change]:
    """Of each line that has no result tonight, or an invalid one, though it usually has; and of each metric that its
    result lacks though it usually has it. Nights on which nothing at all was measured do not count."""
    nights = len(lines[0].points) if lines else 0
    held = [column for column in range(nights - 1) if any(line.points[column] for line in lines)][-_NIGHTS:]
    found = []
    for line in lines:
        tonight = line.points[-1]
        before = [point for column in held if (point := line.points[column]) and not is_invalid(point.verdict)]
        for metric in metrics:
            having = sum(metric in point.figures for point in before)
            if having < max(_FEWEST_NIGHTS, _USUAL_SHARE * len(held)):
                continue
            if tonight is None:
                reason = "no result tonight"
            elif is_invalid(tonight.verdict):
                reason = f"tonight's result is invalid: {', '.join(tonight.reasons) or 'no reason given'}"
            elif metric not in tonight.figures:
                reason = f"tonight's result has no {metric}"
            else:
                continue
            reasons = (f"{reason}; there was one on {having} of the {len(held)} nights before",)
            job_id = tonight.job_id if tonight else None
            found.append(Change(line.key(metric), ChangeKind.MISSING, 0.0, job_id=job_id, reasons=reasons))
    return found
