"""What is measured once more, and what that says: old and new in turns on some of the devices of each suspect. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from farm.analysis import interleaved, regressed
from farm.analysis.quantities import Quantity, quantity
from farm.types import (
    Estimate,
    Evidence,
    JobOutcome,
    Member,
    Pair,
    Regression,
    RegressionState,
    SeriesKey,
    VerdictLevel,
)

TRIALS_PER_REGRESSION = 3  # of the series that show it most: enough to tell a variant's change from a device's
TRIALS_PER_DEVICE = 4  # in one night; more would keep a device busy for hours


@dataclass(frozen=True)
class Trial:
    """One device, variant and scenario, two builds: what several metrics are told from."""

    device: str
    variant: str
    scenario: str
    old_build: str
    new_build: str


@dataclass(frozen=True)
class Plan:
    """``trials``: the members that each answers, and in how many pairs. ``refused``: regressions that come to none."""

    trials: Mapping[Trial, tuple[int, Member]]
    refused: Mapping[int, tuple[RegressionState, str]]


def trial_of(member: Member) -> Trial | None:
    """None where there is no old result, or no new one."""
    if member.old is None or member.new is None:
        return None
    key = member.key
    return Trial(key.device, key.variant, key.scenario, member.old.build_key, member.new.build_key)


def planned(suspects: Iterable[Regression], gone: Mapping[str, str], away: Collection[str]) -> Plan:
    """The worst first, compared with their limits, on devices that are in service rather than on those ``away``.

    ``gone``: builds whose files are not there any longer, and why each cannot be used.
    """
    trials: dict[Trial, tuple[int, Member]] = {}
    refused: dict[int, tuple[RegressionState, str]] = {}
    for regression in sorted(suspects, key=_severity, reverse=True):
        taken, reason = _take(regression, trials, gone, away)
        if not taken:
            same = all(_same_build(member) for member in regression.members)
            refused[regression.id] = (RegressionState.REFUTED, _SAME) if same else (RegressionState.UNCONFIRMED, reason)
    return Plan(trials, refused)


_SAME = (
    "the artifact is the one of the nights before: what changed is the device, or what runs on it, not the model or "
    "its build"
)


def _take(
    regression: Regression,
    trials: dict[Trial, tuple[int, Member]],
    gone: Mapping[str, str],
    away: Collection[str],
) -> tuple[int, str]:
    """How many trials it has, and why not more."""
    mine: set[Trial] = set()
    reason = "no result of before to compare with"
    for member in sorted(regression.members, key=lambda member: member.key.device in away):
        trial = trial_of(member)
        if trial is None or trial.old_build == trial.new_build:
            continue
        if trial not in mine and len(mine) == TRIALS_PER_REGRESSION:
            continue
        if missing := gone.get(trial.old_build) or gone.get(trial.new_build):
            reason = missing
            continue
        asked = quantity(member.key.metric)
        pairs = interleaved.EXACT_PAIRS if interleaved.repeats(asked) else _pairs(member, asked)
        if trial in trials:
            pairs = max(pairs, trials[trial][0])
        elif sum(other.device == trial.device for other in trials) >= TRIALS_PER_DEVICE:
            reason = (
                f"{TRIALS_PER_DEVICE} suspects of this night that are worse are measured on {trial.device} already; "
                "if a later night shows it too, it has another chance"
            )
            continue
        trials[trial] = (pairs, member)
        mine.add(trial)
    return len(mine), reason


def _pairs(member: Member, asked: Quantity) -> int:
    change = member.own_change or member.change
    effect = interleaved.worsening(change, asked).value if change else 0.0
    return interleaved.pairs_for(effect, member.noise_ratio)


def _same_build(member: Member) -> bool:
    trial = trial_of(member)
    return trial is not None and trial.old_build == trial.new_build


def _severity(regression: Regression) -> float:
    """In limits."""
    change, limit = regression.worst.change, regression.worst.limit
    if change is None or not limit:
        return 0.0
    return interleaved.worsening(change, quantity(regression.key.metric)).value / limit


# --- what came of it ----------------------------------------------------------------------------------


def evidence_of(
    run_id: int, key: SeriesKey, trial: Trial, limit: float, outcomes: Sequence[JobOutcome]
) -> Evidence | None:
    """``outcomes``: of the run, in the order of its jobs. None where nothing of the trial is in it."""
    mine = [each for each in outcomes if _belongs(each, trial)]
    if not mine:
        return None
    asked = quantity(key.metric)
    pairs = [pair for one, two in zip(mine[::2], mine[1::2], strict=False) if (pair := _pair(one, two, trial, asked))]
    enough = interleaved.EXACT_PAIRS if interleaved.repeats(asked) else interleaved.ENOUGH_PAIRS
    if len(pairs) < enough:
        return Evidence(
            run_id=run_id,
            key=key,
            pairs=tuple(pairs),
            outcome=RegressionState.UNCONFIRMED,
            reason=f"{len(pairs)} of {len(mine) // 2} pairs are usable, {enough} are needed: {_lost(mine, asked)}",
        )
    change = interleaved.change_of(pairs, asked)
    outcome = interleaved.judged(change, asked, limit)
    return Evidence(
        run_id=run_id,
        key=key,
        pairs=tuple(pairs),
        before=interleaved.ranged([pair.before for pair in pairs]),
        now=interleaved.ranged([pair.now for pair in pairs]),
        change=change,
        outcome=outcome,
        reason=_said(outcome, change, key.metric, limit),
    )


def concluded(evidence: Sequence[Evidence]) -> tuple[RegressionState, str]:
    """One metric that most series confirm is enough; refuted is what none confirms and one rules out for each metric.
    The first series that says so gives the words."""
    metrics = dict.fromkeys(each.key.metric for each in evidence)
    votes = [_vote([each for each in evidence if each.key.metric == metric]) for metric in metrics]
    for wanted in (RegressionState.CONFIRMED, RegressionState.UNCONFIRMED, RegressionState.REFUTED):
        for state, reason in votes:
            if state is wanted:
                return state, reason
    return RegressionState.UNCONFIRMED, "nothing of it was measured once more"


def _vote(evidence: Sequence[Evidence]) -> tuple[RegressionState, str]:
    """Of one metric."""
    yes, no = (
        [each for each in evidence if each.outcome is outcome]
        for outcome in (RegressionState.CONFIRMED, RegressionState.REFUTED)
    )
    if len(yes) > len(no):
        return RegressionState.CONFIRMED, _on(yes[0], evidence)
    if yes:
        counts = f"{len(yes)} of {len(evidence)} series show it when measured once more, {len(no)} do not"
        return RegressionState.UNCONFIRMED, counts
    if no:
        return RegressionState.REFUTED, _on(no[0], evidence)
    return RegressionState.UNCONFIRMED, _on(evidence[0], evidence)


def _belongs(outcome: JobOutcome, trial: Trial) -> bool:
    job = outcome.job
    return (job.device_id, str(job.scenario)) == (trial.device, trial.scenario) and job.build_key in (
        trial.old_build,
        trial.new_build,
    )


def _pair(one: JobOutcome, two: JobOutcome, trial: Trial, asked: Quantity) -> Pair | None:
    old, new = (one, two) if one.job.build_key == trial.old_build else (two, one)
    before, now = _figure(old, asked), _figure(new, asked)
    if before is None or now is None or not (asked.score or min(before.value, now.value) > 0):
        return None
    return Pair(before_job_id=old.job.id, now_job_id=new.job.id, before=before.value, now=now.value)


def _figure(outcome: JobOutcome, asked: Quantity) -> Estimate | None:
    """Only what is trusted counts."""
    result = outcome.result
    if result is None or result.verdict.level is not VerdictLevel.TRUSTED:
        return None
    return asked.of(result)


def _lost(outcomes: Sequence[JobOutcome], asked: Quantity) -> str:
    reasons: dict[str, int] = {}
    for outcome in outcomes:
        figure = _figure(outcome, asked)
        if figure is None or not (asked.score or figure.value > 0):
            why = _why(outcome, asked)
            reasons[why] = reasons.get(why, 0) + 1
    worst = sorted(reasons, key=lambda why: -reasons[why])[:2]
    return "; ".join(f"{reasons[why]} × {why}" for why in worst)


def _why(outcome: JobOutcome, asked: Quantity) -> str:
    job, result = outcome.job, outcome.result
    if result is None:
        return str(job.failure or job.reason) or f"{job.state}"
    if result.verdict.level is VerdictLevel.TRUSTED:
        figure = asked.of(result)
        return f"{asked.name} is {figure.value:g}" if figure else f"no {asked.name} in the result"
    codes = ", ".join(reason.code for reason in result.verdict.reasons)
    return f"{result.verdict.level} ({codes})" if codes else str(result.verdict.level)


def _said(outcome: RegressionState, change: Estimate, metric: str, limit: float) -> str:
    much = f"{regressed.change(change, metric)} ({regressed.change_interval(change, metric)})"
    match outcome:
        case RegressionState.CONFIRMED:
            return f"in turns with the artifact before: {much}"
        case RegressionState.REFUTED:
            return (
                f"in turns with the artifact before: {much}; a change of {regressed.limit(limit, metric)} is ruled out"
            )
        case _:
            return (
                f"in turns with the artifact before: {much}; that rules out neither no change nor one of "
                f"{regressed.limit(limit, metric)}"
            )


def _on(one: Evidence, evidence: Sequence[Evidence]) -> str:
    if len(evidence) == 1:
        return one.reason
    alike = sum(each.outcome is one.outcome for each in evidence)
    return f"{alike} of {len(evidence)} series measured once more say so; {one.key.device}: {one.reason}"
