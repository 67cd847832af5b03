"""What people are told outside of the farm."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from farm.types.base import Frozen, Name

NoticeKind = Literal["regression", "night", "test"]
NoticeState = Literal["pending", "sent", "dead"]


class Notice(Frozen):
    """One message for one channel, which hears of a ``cause`` once. ``subject``: a line; ``text``: Markdown; ``data``:
    the same for programs. ``reason``: why it still waits, or was given up at ``ended_at``."""

    id: int
    channel: Name
    kind: NoticeKind
    cause: str
    subject: str
    text: str
    data: dict[str, object]
    state: NoticeState
    attempts: int
    queued_at: datetime
    next_at: datetime
    ended_at: datetime | None = None
    reason: str = ""
