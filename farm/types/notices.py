"""What people are told outside of the farm."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from farm.types.base import Frozen, Name

NoticeKind = Literal["regression", "night", "test"]


class Notice(Frozen):
    """One message for one channel. ``subject``: a line; ``text``: Markdown; ``data``: the same for programs."""

    id: int
    channel: Name
    kind: NoticeKind
    subject: str
    text: str
    data: dict[str, object]
    state: Literal["pending", "sent", "dead"]
    attempts: int
    queued_at: datetime
    next_at: datetime
    reason: str = ""
