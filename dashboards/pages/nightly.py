"""What changed last night."""

from __future__ import annotations

from dashboards.parts import GOOD_IS_LITTLE, Page, Panel, Query
from dashboards.queries import ACCURACY_DROP, CHOICES, NIGHT, RATIO, TONIGHT, USUAL, geometric_mean

_OF_NIGHT = {"model": "Model", "variant": "Variant", "device": "Device", "scenario": "Scenario"}
_BY_NIGHT = ", ".join(_OF_NIGHT)
_CHANGE_STEPS = (("blue", None), ("green", -0.03), ("yellow", 0.03), ("orange", 0.05), ("red", 0.10))
_MISSING = f"{USUAL} unless {TONIGHT}"

PAGE = Page(
    uid="farm-nightly-regressions",
    title="Torchfarm / Nightly regressions",
    description=f"Last night (the results of {NIGHT}) against the median of two weeks, offset by two days.",
    variables=CHOICES,
    choices=(("threshold", "p95 over usual", ("1.05", "1.03", "1.10", "1.20")),),
    runs=True,
    panels=(
        Panel(
            "stat",
            "Slower",
            "Combinations whose p95 is above the threshold.",
            "short",
            [Query(f"count({RATIO} > $threshold) or vector(0)", "slower")],
            6,
            4,
            instant=True,
            steps=GOOD_IS_LITTLE,
        ),
        Panel(
            "stat",
            "Less accurate",
            "Combinations that lost more than one percentage point of accuracy.",
            "short",
            [Query(f"count({ACCURACY_DROP} > 0.01) or vector(0)", "less accurate")],
            6,
            4,
            instant=True,
            steps=GOOD_IS_LITTLE,
        ),
        Panel(
            "stat",
            "Missing",
            "Combinations that had results in the two weeks before and have none of last night.",
            "short",
            [Query(f"count({_MISSING}) or vector(0)", "missing")],
            6,
            4,
            instant=True,
            steps=(("green", None), ("orange", 1.0)),
        ),
        Panel(
            "stat",
            "Results of last night",
            "Combinations measured last night.",
            "short",
            [Query(f"count({TONIGHT}) or vector(0)", "results")],
            6,
            4,
            instant=True,
        ),
        Panel(
            "state-timeline",
            "Change of p95 by night",
            "The largest change among the devices of a variant, against the median of the two weeks before that night.",
            "percentunit",
            [Query(f"max by (model, variant) ({RATIO}) - 1", "{{model}} {{variant}}")],
            24,
            9,
            daily=True,
            steps=_CHANGE_STEPS,
            decimals=1,
        ),
        Panel(
            "table",
            "Slower than usual",
            "p95 of last night over the usual one, where it is above the threshold.",
            "percentunit",
            [Query(f"max by ({_BY_NIGHT}) ({RATIO} > $threshold) - 1", "Slower by", "percentunit")],
            8,
            9,
            instant=True,
            columns=_OF_NIGHT,
            nothing="Nothing is slower than usual",
        ),
        Panel(
            "table",
            "Less accurate than usual",
            "Accuracy lost against the median of the two weeks before, where it is more than one percentage point.",
            "percentunit",
            [Query(f"max by ({_BY_NIGHT}) ({ACCURACY_DROP} > 0.01)", "Lost", "percentunit")],
            8,
            9,
            instant=True,
            columns=_OF_NIGHT,
            nothing="Nothing is less accurate than usual",
        ),
        Panel(
            "table",
            "Missing last night",
            "What had results in the two weeks before, with its usual p95.",
            "s",
            [Query(f"max by ({_BY_NIGHT}) ({_MISSING})", "Usual p95", "s")],
            8,
            9,
            instant=True,
            columns=_OF_NIGHT,
            nothing="Nothing is missing",
        ),
        Panel(
            "timeseries",
            "Mean change of p95 by night",
            "Geometric mean over the devices of a variant, against what is usual for each.",
            "percentunit",
            [Query(f"{geometric_mean(RATIO, 'model', 'variant')} - 1", "{{model}} {{variant}}")],
            24,
            9,
            daily=True,
        ),
    ),
)
