"""PromQL that several dashboards share. Names come from the catalogue."""

from __future__ import annotations

from farm.metrics import catalogue
from farm.metrics.catalogue import Metric

CHOSEN = 'model=~"$model",platform=~"$platform",device_model=~"$device_model"'
# The variables that those are: label, title, and the metric that has their values.
CHOICES = (
    ("model", "Model", catalogue.TRUSTED.name),
    ("platform", "Platform", catalogue.TRUSTED.name),
    ("device_model", "Device model", catalogue.TRUSTED.name),
)
P95 = 'quantile="0.95"'
NIGHT = "26h"  # a day, and what a night may begin later than the one before
BEFORE = "[14d] offset 2d"  # the two weeks that a night is compared with; not the night itself


def _series(metric: Metric, *conditions: str) -> str:
    return f"{metric.name}{{{','.join(conditions)}}}"


def latest(metric: Metric, *conditions: str, over: str = "$__range") -> str:
    """A pushed series vanishes from instant queries after five minutes: look back."""
    return f"last_over_time({_series(metric, CHOSEN, *conditions)}[{over}])"


def usual(metric: Metric, *conditions: str) -> str:
    """The median of the weeks before."""
    return f"quantile_over_time(0.5, {_series(metric, CHOSEN, *conditions)}{BEFORE})"


def geometric_mean(of: str, *by: str) -> str:
    """For ratios of devices that are of different speed."""
    return f"exp(avg by ({', '.join(by)}) (ln({of})))"


TONIGHT = latest(catalogue.LATENCY, P95, over=NIGHT)
USUAL = usual(catalogue.LATENCY, P95)
RATIO = f"({TONIGHT} / {USUAL})"
ACCURACY_DROP = f"({usual(catalogue.ACCURACY)} - {latest(catalogue.ACCURACY, over=NIGHT)})"
