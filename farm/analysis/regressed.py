"""How a regression is said: the same in notices, tables and on its page. Light: the command line uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from farm.analysis import figures
from farm.analysis.quantities import Unit, quantity
from farm.types import Estimate, Member, Regression, RegressionState

MISSING_METRIC = "result"

_WRITTEN: Mapping[Unit, Callable[[float], str]] = {
    "seconds": lambda seconds: f"{figures.milliseconds(seconds)} ms",
    "bytes": figures.size,
    "joules": figures.energy,
    "watts": figures.power,
    "ratio": figures.score,
    "per second": lambda rate: f"{figures.number(rate)} per second",
}

_MEANINGS: Mapping[RegressionState, str] = {
    RegressionState.SUSPECTED: "a night found it; it is about to be measured once more",
    RegressionState.CONFIRMING: "it is being measured once more, in turns with the artifact before",
    RegressionState.CONFIRMED: "it is there",
    RegressionState.REFUTED: "in turns with the artifact before, it is not there",
    RegressionState.UNCONFIRMED: "it could not be told",
    RegressionState.ENDED: "a later night is as good as before",
    RegressionState.CLOSED: "somebody closed it",
}

_OF_NOISY: Mapping[RegressionState, str] = {
    RegressionState.CONFIRMED: "its measurements differ far more than is usual",
    RegressionState.ENDED: "it is quiet again",
}


def figure(value: float, metric: str) -> str:
    return _WRITTEN[quantity(metric).unit](value)


def interval(estimate: Estimate, metric: str) -> str:
    """Empty where the figure has none."""
    if estimate.low == estimate.high:
        return ""
    return f"{figure(estimate.low, metric)} to {figure(estimate.high, metric)}"


def change(estimate: Estimate, metric: str) -> str:
    """``+10.2 %`` of what it was; of scores the difference."""
    return _signed(estimate.value, score=quantity(metric).score)


def change_interval(estimate: Estimate, metric: str) -> str:
    score = quantity(metric).score
    return f"{_signed(estimate.low, score=score)} to {_signed(estimate.high, score=score)}"


def limit(value: float, metric: str) -> str:
    return f"{value:g}" if quantity(metric).score else f"{100 * value:g} %"


def noise(value: float, metric: str) -> str:
    """Of scores absolute."""
    return figures.number(value, digits=2) if quantity(metric).score else f"{figures.number(100 * value, digits=2)} %"


def meaning(regression: Regression) -> str:
    """What its state says."""
    if regression.kind == "missing" and regression.state is RegressionState.CONFIRMED:
        return "there was one on the nights before"
    if regression.kind == "noisy" and regression.state in _OF_NOISY:
        return _OF_NOISY[regression.state]
    return _MEANINGS[regression.state]


def where(regression: Regression) -> str:
    """Device, or how many of them."""
    count = len(regression.affected)
    return regression.key.device if count == 1 else f"{count} devices"


def of_its_own(member: Member) -> Estimate | None:
    """What is left of the change without what the whole device did that night, where that is told apart; else all."""
    return member.own_change or member.change


def shared(member: Member) -> bool:
    """Whether what the whole device did that night makes a difference that is seen."""
    if member.own_change is None or member.change is None:
        return False
    metric = member.key.metric
    return change(member.own_change, metric) != change(member.change, metric)


def amount(regression: Regression) -> tuple[str, Estimate | None]:
    """Of which metric, and how much: as measured once more where that confirmed it, else as the night had it."""
    proven = (
        (each.key.metric, each.change)
        for each in regression.evidence
        if each.outcome is RegressionState.CONFIRMED and each.change
    )
    return next(proven, (regression.key.metric, of_its_own(regression.worst)))


def headline(regression: Regression) -> str:
    key, device = regression.key, where(regression)
    what = {
        "series": f"{key.variant} on {device}",
        "variant": f"{key.variant} on {device}",
        "device": f"most variants on {device}",
        "night": f"most of what was measured, on {device}",
    }[regression.scope]
    mark = " (virtual)" if regression.virtual else ""
    if regression.kind == "noisy":
        return f"{key.device} is noisy: {key.metric} of one artifact differs{_by_up_to(regression.worst)}{mark}"
    if regression.kind == "missing":
        return f"No {key.metric} of {what}{mark}"
    metric, much = amount(regression)
    return f"{metric} of {what}: {change(much, metric) if much else 'worse'}{mark}"


def _by_up_to(member: Member) -> str:
    if member.noise_ratio is None:
        return ""
    return f" by up to {noise(member.noise_ratio, member.key.metric)}"


def _signed(value: float, *, score: bool) -> str:
    if score:
        return figures.change(value)
    percent = 100 * (value - 1)
    if percent == 0:
        return "0 %"
    return f"{percent:+.1f} %" if abs(percent) < 100 else f"{percent:+.0f} %"
