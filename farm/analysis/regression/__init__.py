"""Regressions told from noise: a night of a sweep against its history. Pure functions; docs/regression-statistics.md.

``examine(lines, rules, baseline)`` takes the whole night at once, because how many comparisons are made, and what the
other variants of a device did that night, are part of every answer.
"""

from farm.analysis.regression.finding import Change, ChangeKind, Examination, Finding, FindingKind, Line, Scope
from farm.analysis.regression.night import examine

__all__ = ["Change", "ChangeKind", "Examination", "Finding", "FindingKind", "Line", "Scope", "examine"]
