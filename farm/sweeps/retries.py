"""When to try again what another try may mend: later and later, and not for ever."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

GIVE_UP = timedelta(hours=6)  # on what another try may mend, and on devices that are away
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 300.0


class Retries:
    """Of nights, or of regressions, by their ids. In memory: a process that is new tries at once."""

    def __init__(self) -> None:
        self._pauses: dict[int, _Pause] = {}

    def rests(self, id: int) -> bool:
        pause = self._pauses.get(id)
        return pause is not None and time.monotonic() < pause.until_seconds

    def later(self, id: int, now: datetime, since: datetime | None = None) -> float | None:
        """It failed: in how many seconds it is tried again, or None where it is to be given up. ``since``: when it was
        first tried, where that is written; else it is when it first failed here."""
        before = self._pauses.get(id)
        first = since or (before.first_failed_at if before else now)
        if now - first >= GIVE_UP:
            return None
        seconds = min(2 * before.seconds, _LONGEST_PAUSE_SECONDS) if before else _FIRST_PAUSE_SECONDS
        self._pauses[id] = _Pause(seconds, time.monotonic() + seconds, first)
        return seconds

    def settled(self, id: int) -> None:
        self._pauses.pop(id, None)


@dataclass(frozen=True)
class _Pause:
    seconds: float
    until_seconds: float
    first_failed_at: datetime
