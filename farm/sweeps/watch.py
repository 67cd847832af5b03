"""Keeps the sweeps going: every duty has its turn, again and again, until the process ends.

Crash-only, as the coordinator: a duty takes what it has to do from the store, and writes what it did there in one
transaction, so that a process that is killed anywhere goes on where it was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from farm.errors import FarmError
from farm.supervisor.ground import pause

log = logging.getLogger(__name__)

_IDLE_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0


class Duty(Protocol):
    def turn(self, now: datetime) -> bool:
        """Do one piece of work, if there is any: True where there may be more at once.

        Raises FarmError for what another try may mend; whatever it had begun must be safe to begin again.
        """


class Watch:
    """``clock``: aware UTC. A duty that fails is tried again, later and later; the others go on meanwhile."""

    def __init__(self, duties: Sequence[Duty], clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._duties = duties
        self._clock = clock
        self._resting_until_seconds = [0.0] * len(duties)
        self._backoff_seconds = [_IDLE_SECONDS] * len(duties)

    def run(self, stopping: Callable[[], bool]) -> None:
        while not stopping():
            if not self.round():
                pause(_IDLE_SECONDS, stopping)

    def round(self) -> bool:
        """One turn of every duty that does not rest; whether one may have more to do."""
        turns = [self._turn(number) for number in range(len(self._duties))]
        return any(turns)

    def _turn(self, number: int) -> bool:
        if time.monotonic() < self._resting_until_seconds[number]:
            return False
        try:
            more = self._duties[number].turn(self._clock())
        except FarmError as error:
            log.warning("%s: %s", type(self._duties[number]).__name__, error)
            self._resting_until_seconds[number] = time.monotonic() + self._backoff_seconds[number]
            self._backoff_seconds[number] = min(2 * self._backoff_seconds[number], _LONGEST_BACKOFF_SECONDS)
            return False
        self._backoff_seconds[number] = _IDLE_SECONDS
        return more
