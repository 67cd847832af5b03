"""Queues what people are told of nights: once each, in the transaction that makes it true.

A night is told of as a whole, once nothing of it is waiting for a second look: a hundred devices that got slower by the
same commit are one message.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from farm.analysis import regressed
from farm.store.transaction import Transaction
from farm.types import Night, NoticeKind, Regression, RegressionState, Sweep

_LISTED = 20  # findings in one message; the rest are counted


def tell_of_findings(tx: Transaction, sweep: Sweep, night: Night, at: datetime) -> None:
    """What was confirmed of a night; silent where nothing was."""
    found = tx.regressions(night_id=night.id, states=[RegressionState.CONFIRMED], limit=None)[::-1]
    if not found:
        return
    worse = [each for each in found if each.kind == "worse"]
    missing = len(found) - len(worse)
    counted = [_count(len(worse), "regression")] if worse else []
    counted += [_count(missing, "missing result")] if missing else []
    subject = f"{sweep.spec.name}, night of {night.due_at:%Y-%m-%d}: {' and '.join(counted)}"
    lines = [f"**{subject}**", "", f"Version {_code(night.version)}, run {night.run_id}." if night.version else ""]
    lines += [_line(each) for each in [*worse, *(each for each in found if each.kind == "missing")][:_LISTED]]
    if len(found) > _LISTED:
        lines.append(f"- and {len(found) - _LISTED} more: `farm regressions list --sweep {sweep.spec.name}`")
    data: dict[str, object] = {
        "sweep": sweep.spec.name,
        "night": night.id,
        "due_at": night.due_at.isoformat(),
        "version": night.version,
        "run": night.run_id,
        "regressions": [_data(each) for each in found],
    }
    kind: NoticeKind = "regression" if worse else "night"
    _tell(tx, sweep, kind, f"night {night.id} found", subject, "\n".join(lines), data, at)


def tell_of_missing_nights(tx: Transaction, nights: Sequence[Night], at: datetime) -> None:
    """Nights that came to no run: those of one sweep together, by the last of them to end."""
    for name in sorted({night.sweep for night in nights}):
        mine = sorted((night for night in nights if night.sweep == name), key=lambda night: (night.ended_at, night.id))
        last, sweep = mine[-1], tx.sweep(name)
        if len(mine) == 1:
            subject = f"{name}: the night of {last.due_at:%Y-%m-%d} is missing"
        else:
            subject = f"{name}: {len(mine)} nights are missing, the last of {last.due_at:%Y-%m-%d}"
        lines = [f"**{subject}**", ""]
        lines += [
            f"- night {each.id}, due {each.due_at:%Y-%m-%d %H:%M} UTC, {each.state}: {each.reason}" for each in mine
        ]
        data: dict[str, object] = {
            "sweep": name,
            "nights": [
                {"night": each.id, "due_at": each.due_at.isoformat(), "state": each.state, "reason": each.reason}
                for each in mine
            ],
        }
        _tell(tx, sweep, "night", f"night {last.id}", subject, "\n".join(lines), data, at)


def tell_of_culprit(tx: Transaction, sweep: Sweep, regression: Regression, at: datetime) -> None:
    """Once a bisection has found the version."""
    bisection = regression.bisection
    if bisection is None or bisection.culprit is None:
        return
    subject = f"{sweep.spec.name}: regression {regression.id} came with {bisection.culprit[:12]}"
    text = f"**{subject}**\n\n{_line(regression)}\n- first bad version: {_code(bisection.culprit)}"
    data: dict[str, object] = {
        "sweep": sweep.spec.name,
        "culprit": bisection.culprit,
        "regressions": [_data(regression)],
    }
    _tell(tx, sweep, "regression", f"regression {regression.id} bisected", subject, text, data, at)


def _tell(
    tx: Transaction,
    sweep: Sweep,
    kind: NoticeKind,
    cause: str,
    subject: str,
    text: str,
    data: dict[str, object],
    at: datetime,
) -> None:
    for channel in dict.fromkeys(sweep.spec.notify):
        tx.add_notice(channel, kind, cause, subject, text, data, at)


def _line(regression: Regression) -> str:
    worst = regression.worst
    line = f"- {regressed.headline(regression)}"
    if worst.change and worst.before and worst.now:
        metric = regression.key.metric
        line += f" ({regressed.figure(worst.before.value, metric)} → {regressed.figure(worst.now.value, metric)})"
    if regression.kind == "missing" and regression.reason:
        line += f": {regression.reason}"
    return f"{line} — `farm regressions show {regression.id}`"


def _data(regression: Regression) -> dict[str, object]:
    worst = regression.worst
    metric, change = regressed.amount(regression)
    return {
        "id": regression.id,
        "kind": regression.kind,
        "scope": regression.scope,
        "state": regression.state,
        "metric": metric,
        "variant": regression.key.variant,
        "scenario": regression.key.scenario,
        "device": regression.key.device,
        "virtual": regression.virtual,
        "affected": list(regression.affected),
        "unaffected": list(regression.unaffected),
        "change": change.model_dump() if change else None,
        "reason": regression.reason,
        "good_version": worst.old.version if worst.old else "",
        "bad_version": worst.new.version if worst.new else "",
        "headline": regressed.headline(regression),
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number > 1 else ''}"


def _code(text: str) -> str:
    return f"`{text.replace('`', '')}`"
