"""One figure of a variant in two runs: how it changed, and whether that can be told from chance. Pure and light."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any, NamedTuple

from farm.analysis import figures
from farm.analysis.figures import MISSING
from farm.analysis.quantities import Quantity
from farm.analysis.ratio import ratio
from farm.types import Estimate, JobOutcome, JobState, Result

_POWER = ("energy", "power")


class Place(NamedTuple):
    """What stands for the same thing in both runs."""

    virtual: bool
    device: str
    scenario: str  # tells the batch also where the artifact brought its own
    variant: str

    def __str__(self) -> str:
        return f"{self.variant} on {self.device}, {self.scenario}"


@dataclass(frozen=True)
class Pair:
    """A job of each run at one place; None where that run has none there."""

    place: Place
    before: JobOutcome | None
    now: JobOutcome | None

    @property
    def results(self) -> tuple[Result | None, Result | None]:
        return (self.before.result if self.before else None, self.now.result if self.now else None)

    @property
    def same_artifact(self) -> bool:
        """Byte for byte: what changed is not the model."""
        return self.before is not None and self.now is not None and self.before.job.build_key == self.now.job.build_key

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What else differs between them."""
        before, now = self.results
        return tuple(_notes(before, now)) if before and now else ()

    @property
    def levels(self) -> str:
        """``trusted``, or the verdicts of both where they differ."""
        levels = (str(result.verdict.level) if result else MISSING for result in self.results)
        return " → ".join(dict.fromkeys(levels))

    def change(self, of: Quantity) -> Change:
        before, now = ((of.of(result) if result else None) for result in self.results)
        found, why = _change(of, self, before, now)
        return Change(self, of, before, now, found, why)


@dataclass(frozen=True)
class Change:
    """``change``: now over before, for scores now minus before; None where ``why_not`` says why there is none."""

    pair: Pair
    quantity: Quantity
    before: Estimate | None
    now: Estimate | None
    change: Estimate | None
    why_not: str = ""

    @property
    def confidence(self) -> float | None:
        """Of the interval; None where there is no change, or no interval of it."""
        levels = [result.confidence for result in self.pair.results if result]
        return max(levels) if self.change and self.has_interval else None

    @property
    def has_interval(self) -> bool:
        return self.change is not None and self.change.low < self.change.high

    @property
    def exact(self) -> bool:
        """Whether a second measurement would give the same: sizes, and scores of the same samples."""
        return self.quantity.score or self.quantity.name == "artifact_size"

    @property
    def differs(self) -> bool | None:
        """None where it cannot be told: no interval, and not exact either."""
        if self.change is None or not (self.has_interval or self.exact):
            return None
        nothing = 0.0 if self.quantity.score else 1.0
        return not self.change.low <= nothing <= self.change.high

    @property
    def loss(self) -> Estimate | None:
        """How much worse it got; see ``loss``."""
        return loss(self.change, self.quantity) if self.change else None

    @property
    def verdict(self) -> str:
        """``worse``, ``better``, ``same`` (cannot be told from chance), ``unclear`` (no interval), ``absent``."""
        if self.loss is None:
            return "absent"
        if self.differs is None:
            return "unclear"
        return ("worse" if self.loss.value > 0 else "better") if self.differs else "same"

    @property
    def text(self) -> str:
        """``+7.82 %``; of a score the difference."""
        if self.change is None:
            return MISSING
        return figures.change(self.change.value) if self.quantity.score else figures.percent(self.change.value - 1)

    @property
    def interval_text(self) -> str:
        return self.interval_of(self.change) if self.change else ""

    def interval_of(self, change: Estimate) -> str:
        """``+6.91 % to +8.80 %``; empty where it is none."""
        if change.low == change.high:
            return ""
        if self.quantity.score:
            return figures.change_interval(change)
        return f"{figures.percent(change.low - 1)} to {figures.percent(change.high - 1)}"

    def to_dict(self) -> dict[str, Any]:
        """Flat and ready for JSON."""
        place, (before, now) = self.pair.place, self.pair.results
        return {
            "variant": place.variant,
            "device": place.device,
            "virtual": place.virtual,
            "scenario": place.scenario,
            "metric": self.quantity.name,
            "unit": self.quantity.unit,
            **_columns("before", self.before),
            **_columns("now", self.now),
            **_columns("change", self.change),
            "change_is": "difference" if self.quantity.score else "ratio",
            "confidence": self.confidence,
            "told_apart": self.differs,
            "verdict": self.verdict,
            "why_not": self.why_not or None,
            "before_verdict": str(before.verdict.level) if before else None,
            "now_verdict": str(now.verdict.level) if now else None,
            "same_artifact": self.pair.same_artifact,
            "notes": list(self.pair.notes),
        }


def lack(outcome: JobOutcome | None) -> str:
    """Why one side has no result; empty where it has one."""
    if outcome is None:
        return "not in the run"
    if outcome.result:
        return ""
    job = outcome.job
    why = f"{job.failure.message} ({job.failure.fault})" if job.failure else job.reason
    if not job.state.terminal:
        return f"not finished ({job.state})"
    return why or ("no result" if job.state is JobState.FINISHED else str(job.state))


def loss(change: Estimate, of: Quantity) -> Estimate:
    """How much worse it got: a share of the figure before, for scores the drop. Negative is better."""
    low, value, high = change.low, change.value, change.high
    if of.score:
        return Estimate(value=-value, low=-high, high=-low)
    if of.higher_is_better:
        return Estimate(value=1 - value, low=1 - high, high=1 - low)
    return Estimate(value=value - 1, low=low - 1, high=high - 1)


def quantile(confidence: float, comparisons: int = 1) -> float:
    """Half-width of a normal interval in standard errors; of one that holds for so many comparisons at once
    (Bonferroni)."""
    return NormalDist().inv_cdf(1 - (1 - confidence) / 2 / comparisons)


def stretched(estimate: Estimate, factor: float, *, on_log_scale: bool) -> Estimate:
    """With each limit ``factor`` times as far away: the normal approximation of another confidence."""
    if not on_log_scale:
        below, above = estimate.value - estimate.low, estimate.high - estimate.value
        return Estimate(value=estimate.value, low=estimate.value - factor * below, high=estimate.value + factor * above)
    below, above = estimate.low / estimate.value, estimate.high / estimate.value
    return Estimate(value=estimate.value, low=estimate.value * below**factor, high=estimate.value * above**factor)


def _change(of: Quantity, pair: Pair, before: Estimate | None, now: Estimate | None) -> tuple[Estimate | None, str]:
    old, new = pair.results
    if before is None or now is None or old is None or new is None:
        return None, "; ".join(_missing(of, pair, before, now))
    if why := _incomparable(of, old, new):
        return None, why
    if old.confidence != new.confidence:
        highest = max(old.confidence, new.confidence)
        before, now = (_at(each, of, result.confidence, highest) for each, result in ((before, old), (now, new)))
    if of.score:
        return _difference(now, before), ""
    if min(before.low, now.low) <= 0:
        return None, "an interval reaches zero, so there is no ratio"
    return ratio(now, before), ""


def _missing(of: Quantity, pair: Pair, before: Estimate | None, now: Estimate | None) -> Iterable[str]:
    sides = (("before", pair.before, before), ("now", pair.now, now))
    for side, outcome, figure in sides:
        if figure is None:
            yield f"{side}: {lack(outcome) or _absent(of, outcome) or 'not measured'}"


def _absent(of: Quantity, outcome: JobOutcome | None) -> str:
    result = outcome.result if outcome else None
    if result is None:
        return ""
    keys = {
        of.name,
        f"{of.name}_seconds",
        f"{of.name}_bytes",
        of.name.replace("latency_", "latency_seconds."),
        *(("evaluation",) if of.score else ()),
        *(("energy",) if of.name in _POWER else ()),
    }
    return next((why for name, why in result.absent.items() if name in keys), "")


def _incomparable(of: Quantity, old: Result, new: Result) -> str:
    """Why two figures are not of the same thing; empty where they are."""
    if of.name in _POWER and old.energy_method != new.energy_method:
        return f"energy was measured by {old.energy_method} before and by {new.energy_method} now"
    if not of.score:
        return ""
    if of.name == "parity_cosine":
        counts = [each.parity.samples for each in (old, new) if each.parity]
    else:
        judged = [each.evaluation for each in (old, new) if each.evaluation]
        counts = [each.samples for each in judged]
        if len({(each.task, each.score) for each in judged}) > 1:
            return "the two were evaluated by different tasks or scores"
    return f"{counts[0]} samples before, {counts[1]} now" if len(set(counts)) > 1 else ""


def _at(estimate: Estimate, of: Quantity, confidence: float, wanted: float) -> Estimate:
    on_log_scale = not of.score and estimate.low > 0
    return stretched(estimate, quantile(wanted) / quantile(confidence), on_log_scale=on_log_scale)


def _difference(now: Estimate, before: Estimate) -> Estimate:
    """MOVER, as in ``farm.analysis.ratio``, of a difference."""
    value = now.value - before.value
    below = math.hypot(now.value - now.low, before.high - before.value)
    above = math.hypot(now.high - now.value, before.value - before.low)
    return Estimate(value=value, low=value - below, high=value + above)


def _notes(before: Result, now: Result) -> Iterable[str]:
    for name in sorted({*before.runtime_versions, *now.runtime_versions}):
        old, new = before.runtime_versions.get(name, "none"), now.runtime_versions.get(name, "none")
        if old != new:
            yield f"{name} {old} before, {new} now"
    if before.energy_method and now.energy_method and before.energy_method != now.energy_method:
        yield f"energy by {before.energy_method} before, by {now.energy_method} now"


def _columns(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    return {
        name: estimate.value if estimate else None,
        f"{name}_low": estimate.low if estimate else None,
        f"{name}_high": estimate.high if estimate else None,
    }
