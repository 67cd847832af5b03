"""Pass, regression, or cannot be told: every row of two runs under every limit. Pure.

A claim that a row is worse than its limit and a claim that it is within are proved in different ways. One false alarm
among many rows fails the whole gate, so the interval that proves "worse" holds for all rows at once (Bonferroni). The
gate passes only if every single row is proved within, and such a union of claims needs no correction (the
intersection-union test: R. L. Berger, "Multiparameter hypothesis testing and acceptance sampling", Technometrics 24
(1982) 295-300). What is neither is said to be neither.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any

from farm.analysis.change import Change, Pair, lack, quantile, stretched
from farm.analysis.difference import Difference
from farm.errors import UserError
from farm.gate.limit import Limit
from farm.types import Estimate, Result, VerdictLevel

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

_NOISE_CONFIDENCE = 0.95
_WORTH_MEASURING = 100.0  # times as long, at the most
_SAME = "the artifact is the same, byte for byte: the device or the measurement changed"


class Exit(IntEnum):
    """Of the command; 2 is a wrong command line."""

    PASS = 0
    REGRESSION = 1
    UNTOLD = 3


class Finding(StrEnum):
    WITHIN = "within"
    WORSE = "worse"
    BROKEN = "broken"  # a variant that had a result is not built any more, or it computes something else
    UNTOLD = "cannot be told"  # the interval holds the limit
    UNTRUSTED = "not trusted"
    MISSING = "missing"


@dataclass(frozen=True)
class Allowances:
    """What may pass without proof. ``noise``: by metric, how much two runs of one artifact differ on such a device
    (95 % of them by less): a share, for scores absolute."""

    suspect: bool = False
    missing: bool = False
    untold: bool = False
    noise: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Judgement:
    """One row under one limit. ``interval``: of the change (or the figure itself) with the noise that was given;
    ``accepted``: it is no pass, and was allowed."""

    limit: Limit
    change: Change
    finding: Finding
    interval: Estimate | None = None
    why: str = ""
    accepted: bool = False

    @property
    def passes(self) -> bool:
        return self.finding is Finding.WITHIN or self.accepted

    @property
    def fails(self) -> bool:
        return self.finding in (Finding.WORSE, Finding.BROKEN)

    def to_dict(self) -> dict[str, Any]:
        """Flat and ready for JSON."""
        shown = self.interval
        return self.change.to_dict() | {
            "limit": str(self.limit),
            "finding": str(self.finding),
            "accepted": self.accepted,
            "why": self.why or None,
            "judged": shown.value if shown else None,
            "judged_low": shown.low if shown else None,
            "judged_high": shown.high if shown else None,
        }


@dataclass(frozen=True)
class Gate:
    """``idle``: limits that nothing could be judged by. ``comparisons``: how many intervals prove "worse" at once."""

    difference: Difference
    limits: tuple[Limit, ...]
    allowances: Allowances
    judgements: tuple[Judgement, ...]
    comparisons: int

    @property
    def idle(self) -> tuple[Limit, ...]:
        nothing = (Finding.MISSING, Finding.UNTRUSTED)
        judged = {each.limit for each in self.judgements if each.finding not in nothing}
        return tuple(limit for limit in self.limits if limit not in judged)

    @property
    def exit(self) -> Exit:
        if any(each.fails for each in self.judgements):
            return Exit.REGRESSION
        passed = not self.idle and all(each.passes for each in self.judgements)
        return Exit.PASS if passed else Exit.UNTOLD

    def of(self, *findings: Finding) -> tuple[Judgement, ...]:
        return tuple(each for each in self.judgements if each.finding in findings)

    def to_markdown(self) -> str:
        """The summary for a pull request."""
        from farm.gate.summary import markdown

        return markdown(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from farm.gate.summary import blocks

        yield from blocks(self)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "verdict": self.exit.name.lower(),
            "exit_code": int(self.exit),
            "run": self.difference.now.id,
            "baseline": self.difference.before.id,
            "baseline_name": self.difference.before.spec.name,
            "model": self.difference.now.model_name,
            "virtual": self.difference.virtual,
            "virtual_places_left_out": self.difference.left_out,
            "limits": [str(limit) for limit in self.limits],
            "limits_without_a_row": [str(limit) for limit in self.idle],
            "comparisons": self.comparisons,
            "notes": list(self.difference.notes),
            "rows": [each.to_dict() for each in self.judgements],
        }


def judge(difference: Difference, limits: Sequence[Limit], allowances: Allowances | None = None) -> Gate:
    """Raises UserError without a limit, and where two limits of a kind are for one metric."""
    allowed = allowances or Allowances()
    if not limits:
        raise UserError(
            "A gate without a limit passes everything.", remedy="Give e.g. --max-regression latency_p50=3%."
        )
    named = [(limit.kind, limit.quantity.name) for limit in limits]
    if twice := {each for each in named if named.count(each) > 1}:
        kind, name = min(twice)
        raise UserError(f"--{kind} is given more than once for {name}.", remedy="Give one limit of a kind per metric.")
    rows = [(limit, pair.change(limit.quantity)) for limit in limits for pair in difference.pairs]
    set_aside = [_set_aside(limit, change, allowed) for limit, change in rows]
    noisy = [
        _with_noise(figure, limit, change, allowed) if aside is None and (figure := limit.figure(change)) else None
        for (limit, change), aside in zip(rows, set_aside, strict=True)
    ]
    comparisons = sum(1 for each in noisy if each and each.low < each.high)
    judgements = [
        aside or _judge(limit, change, figure, comparisons, allowed)
        for (limit, change), aside, figure in zip(rows, set_aside, noisy, strict=True)
    ]
    return Gate(difference, tuple(limits), allowed, tuple(judgements), comparisons)


def _judge(limit: Limit, change: Change, figure: Estimate | None, comparisons: int, allowed: Allowances) -> Judgement:
    if figure is None:  # ``_set_aside`` took those
        return Judgement(limit, change, Finding.MISSING, why="not measured", accepted=allowed.missing)
    wide = figure
    if figure.low < figure.high:
        confidence = _confidence(change)
        factor = quantile(confidence, comparisons) / quantile(confidence)
        wide = stretched(figure, factor, on_log_scale=limit.on_log_scale and figure.low > 0)
    badness = limit.badness(figure)
    if limit.badness(wide).low > limit.threshold:
        return Judgement(limit, change, Finding.WORSE, figure, _SAME * (limit.of_change and change.pair.same_artifact))
    if badness.high <= limit.threshold:
        alone = badness.low == badness.high and not change.exact
        return Judgement(limit, change, Finding.WITHIN, figure, "measured once, no interval" if alone else "")
    return Judgement(limit, change, Finding.UNTOLD, figure, _longer(badness, limit.threshold), allowed.untold)


def _set_aside(limit: Limit, change: Change, allowed: Allowances) -> Judgement | None:
    """What no limit is applied to; None where one is."""
    pair = change.pair
    before, now = pair.results
    if why := _broken(pair):
        return Judgement(limit, change, Finding.BROKEN, why=why)
    if limit.figure(change) is None:
        why = change.why_not if limit.of_change else (lack(pair.now) or "not measured")
        return Judgement(limit, change, Finding.MISSING, why=why, accepted=allowed.missing)
    sides = (("baseline", before), ("run", now)) if limit.of_change else (("run", now),)
    for side, result in sides:
        level = result.verdict.level if result else VerdictLevel.INVALID
        doubted = level is VerdictLevel.SUSPECT and not allowed.suspect
        if level is VerdictLevel.INVALID or (doubted and limit.quantity.name != "artifact_size"):  # that is no matter
            return Judgement(limit, change, Finding.UNTRUSTED, why=f"{side} {level}: {', '.join(_codes(result))}")
    return None


def _broken(pair: Pair) -> str:
    """What is the submission's own doing. A device that failed, or an interruption, says nothing of it."""
    before, now = pair.results
    if before is not None and before.verdict.level is VerdictLevel.INVALID:
        return ""
    if now is not None:
        wrong = [code for code in _codes(now, VerdictLevel.INVALID) if code != "parity-missing"]
        return f"run invalid: {', '.join(wrong)}" if wrong else ""
    failure = pair.now.job.failure if pair.now else None
    return lack(pair.now) if failure and failure.fault in ("recipe", "user") and before is not None else ""


def _codes(result: Result | None, level: VerdictLevel | None = None) -> list[str]:
    reasons = result.verdict.reasons if result else ()
    return [each.code for each in reasons if each.level is not VerdictLevel.TRUSTED and level in (None, each.level)]


def _confidence(change: Change) -> float:
    return max(result.confidence for result in change.pair.results if result)


def _with_noise(figure: Estimate, limit: Limit, change: Change, allowed: Allowances) -> Estimate:
    """Its distances and that of the noise, added in squares; a figure alone has half the variance of a difference."""
    amount = allowed.noise.get(limit.quantity.name, 0.0)
    if not amount:
        return figure
    scale = quantile(_confidence(change)) / quantile(_NOISE_CONFIDENCE) / (1 if limit.of_change else math.sqrt(2))
    if limit.quantity.score or figure.low <= 0:
        noise = scale * amount * (1 if limit.quantity.score else abs(figure.value))
        below, above = math.hypot(figure.value - figure.low, noise), math.hypot(figure.high - figure.value, noise)
        return Estimate(value=figure.value, low=figure.value - below, high=figure.value + above)
    noise = scale * math.log1p(amount)
    below = math.hypot(math.log(figure.value / figure.low), noise)
    above = math.hypot(math.log(figure.high / figure.value), noise)
    return Estimate(value=figure.value, low=figure.value * math.exp(-below), high=figure.value * math.exp(above))


def _longer(badness: Estimate, threshold: float) -> str:
    """What it would take: an interval shrinks with the square root of the samples."""
    if math.isnan(badness.value):
        return "the figure is not a number"
    gap = threshold - badness.value
    reach = badness.high - badness.value if gap > 0 else badness.value - badness.low
    times = (reach / gap) ** 2 if gap else math.inf
    if not times <= _WORTH_MEASURING:
        return "too close to the limit to be told by measuring longer"
    return f"the interval holds the limit: measure about {max(2, math.ceil(times))} times as long"
