"""Whether a sweep makes sense by itself, before anything is asked of the farm. Light: the client does this, too."""

from __future__ import annotations

from farm import selectors
from farm.analysis.quantities import quantity
from farm.errors import UserError
from farm.sweeps import schedule
from farm.types import AlertRule, SweepSpec


def check(spec: SweepSpec) -> None:
    """Raises UserError, SelectorError, RecipeSpecError."""
    from farm.recipes.presets import parse

    selectors.parse(spec.devices)
    for recipe in spec.recipes:
        parse(recipe)
    if spec.schedule is not None:
        schedule.check(spec.schedule)
    for rule in spec.alerts:
        check_rule(rule)
    if spec.baseline.mode == "pinned" and spec.baseline.run_id is None:
        raise UserError("The pinned baseline names no run.", remedy="Give baseline: {pinned: RUN}.")


def check_rule(rule: AlertRule) -> None:
    """Scores may drop by a difference, everything else may change by a ratio. Raises UserError."""
    score = quantity(rule.metric).score
    given = rule.max_drop if score else rule.max_change_ratio
    other = rule.max_change_ratio if score else rule.max_drop
    if given is None or other is not None:
        takes = (
            "a score: say by how many points it may drop" if score else "no score: say by how many percent it may be"
        )
        raise UserError(
            f"{rule.metric} is {takes}{'' if score else ' worse'}.",
            remedy="Write alerts: {latency_p50: 3%, accuracy: 1 point}; a point is 0.01.",
        )
