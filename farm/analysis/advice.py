"""What a recommendation says in words: which variant to ship in one setting, and what to keep in mind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from farm.analysis import figures
from farm.analysis.row import Recommendation, Row
from farm.types import VerdictLevel

MOST_NAMES = 6  # of variants in one sentence


def headline(recommendation: Recommendation) -> str:
    """One sentence."""
    row = recommendation.row
    median = row.latency("p50") if row else None
    if row is None or median is None:
        return f"No recommendation: {recommendation.why_not}."
    said = f"{row.label}, p50 {figures.milliseconds(median.value)} ms"
    if row.speedup and not row.is_baseline:
        said += f", {figures.times(row.speedup.value)} the speed of PyTorch"
    if row.level is VerdictLevel.TRUSTED:
        return f"Fastest: {said}."
    return f"No result is trusted here; the fastest suspect one: {said}."


def caveats(recommendation: Recommendation, rows: Sequence[Row]) -> Iterator[str]:
    """Sentences, the most important first. ``rows``: all of the setting."""
    row = recommendation.row
    if row is None:
        return
    if row.level is not VerdictLevel.TRUSTED:
        yield f"Do not decide on it: {_codes(row)}."
    if row.setting.virtual:
        yield "Measured on a virtual device: good for trying things out, not for a decision."
    if recommendation.passed_over:
        listed = _listed([f"{other.label} ({_codes(other)})" for other in recommendation.passed_over])
        yield f"Faster, but not as trustworthy: {listed}."
    if recommendation.rivals:
        yield f"Its interval cannot tell it from: {_names(recommendation.rivals)}. Choose by size, memory or parity."
    parity = row.outcome.result.parity if row.outcome.result else None
    if row.outcome.job.recipe.transforms and parity is not None:
        yield (
            f"Its outputs differ from PyTorch's by up to {figures.number(parity.max_abs_error)} "
            f"(cosine {figures.cosine(parity.cosine)}): check its accuracy on labelled data."
        )
    steadier = [other for other in rows if other is not row and other.level is row.level and _steadier(other, row)]
    if steadier:
        yield f"By p95 these are faster: {_names(steadier)}."
    if row.is_baseline:
        yield "No variant that can be trusted as much is faster than PyTorch itself."
    elif row.speedup is None:
        yield f"No speed-up is given: {row.speedup_absent}."
    shaky = [
        other
        for other in rows
        if other.is_baseline and other.run_id == row.run_id and other.level is VerdictLevel.SUSPECT and other is not row
    ]
    if shaky and row.speedup is not None:
        yield f"Its speed-up may be off, because PyTorch's own result is {_codes(shaky[0])}."
    lost = [other for other in rows if other.failure]
    if lost:
        yield f"Without a result: {_names(lost)}."


def unreadable(rows: Sequence[Row]) -> str | None:
    """Which meters the device does not show, and why; they alone make no result suspect."""
    meters = {
        name: why for row in rows if row.outcome.result for name, why in row.outcome.result.telemetry.absent.items()
    }
    if not meters:
        return None
    return "Not readable here: " + "; ".join(f"{name} ({why})" for name, why in sorted(meters.items())) + "."


def _steadier(other: Row, row: Row) -> bool:
    theirs, own = other.latency("p95"), row.latency("p95")
    return theirs is not None and own is not None and theirs.high < own.low


def _codes(row: Row) -> str:
    no_doubt = ("inputs-filled", "energy-refused")
    codes = dict.fromkeys(reason.code for reason in row.reasons if reason.code not in no_doubt)
    return f"{row.status}: {', '.join(codes)}"


def _names(rows: Sequence[Row]) -> str:
    return _listed([row.label if row.level is VerdictLevel.TRUSTED else f"{row.label} ({row.status})" for row in rows])


def _listed(names: Sequence[str]) -> str:
    """All of a few; of many those that come first, and how many more: the table has them all."""
    shown = names if len(names) <= MOST_NAMES else names[:MOST_NAMES]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
