"""Queues what people are told of nights: once each, in the transaction that makes it true.

A night is told of when nothing of it waits for a second look any longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from farm.config import Settings
from farm.notifications.messages import Message, night_message, regression_message
from farm.store.transaction import Transaction
from farm.types import Night, NoticeKind, Regression, RegressionState, Sweep

ONE_BY_ONE = 5  # regressions of a night; more are one message


def tell_of_findings(tx: Transaction, sweep: Sweep, night: Night, settings: Settings, at: datetime) -> None:
    """What was confirmed of a night; silent where nothing was."""
    found = tx.regressions(night_id=night.id, states=[RegressionState.CONFIRMED], limit=None)[::-1]
    messages = [regression_message(each, settings.public_url) for each in found]
    if len(found) > ONE_BY_ONE:
        kind: NoticeKind = "regression" if any(each.kind == "worse" for each in found) else "night"
        _tell(tx, sweep, kind, f"night {night.id} found", _together(sweep, night, found, messages), at)
        return
    for each, message in zip(found, messages, strict=True):
        _tell(tx, sweep, "regression", f"regression {each.id} of night {night.id}", message, at)


def tell_of_missing_nights(tx: Transaction, nights: Sequence[Night], at: datetime) -> None:
    """Nights that came to no run: those of one sweep together, by the last of them to end."""
    for name in sorted({night.sweep for night in nights}):
        mine = sorted((night for night in nights if night.sweep == name), key=lambda night: (night.ended_at, night.id))
        last = night_message(mine[-1])
        if len(mine) > 1:
            before = [f"- {night_message(night).subject}: {night.reason}" for night in mine[:-1]]
            text = "\n".join([last.text, "", "So did, before it:", "", *before])
            last = Message(f"{last.subject}, and {len(before)} before it", text, last.data)
        _tell(tx, tx.sweep(name), "night", f"night {mine[-1].id}", last, at)


def tell_of_culprit(tx: Transaction, sweep: Sweep, regression: Regression, settings: Settings, at: datetime) -> None:
    """Once a bisection has found the version."""
    if regression.bisection and regression.bisection.culprit:
        message = regression_message(regression, settings.public_url)
        _tell(tx, sweep, "regression", f"regression {regression.id} bisected", message, at)


def _together(sweep: Sweep, night: Night, found: Sequence[Regression], messages: Sequence[Message]) -> Message:
    name = sweep.spec.name
    subject = f"{len(found)} regressions in the night of {night.due_at:%Y-%m-%d %H:%M} UTC (sweep {name})"
    lines = [f"- {message.subject}" for message in messages]
    lines += ["", f"`farm regressions list --sweep {name}` shows them."]
    data = dict(messages[0].data) | {"about": f"night {night.id}", "regressions": [each.id for each in found]}
    data.pop("regression", None)
    data.pop("page", None)
    return Message(subject, "\n".join(lines), data)


def _tell(tx: Transaction, sweep: Sweep, kind: NoticeKind, cause: str, message: Message, at: datetime) -> None:
    for channel in dict.fromkeys(sweep.spec.notify):
        tx.add_notice(channel, kind, cause, message.subject, message.text, message.data, at)
