"""Pushes what is in the outbox, in its order, at least once: a row is done when the receiver has said so.

To send a sample again is harmless: same time and value are accepted silently. A batch that is refused is halved until
it is known which publication is meant; that one becomes a dead letter, with the reason, and the others go on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from farm.errors import FarmError, InfrastructureError
from farm.metrics.reconciliation import reconcile
from farm.metrics.remotewrite import Endpoint, Refused
from farm.store.database import Store
from farm.supervisor.ground import pause
from farm.types import Publication

log = logging.getLogger(__name__)

BATCH = 500  # publications: some 8,000 samples
RECEIPTS = timedelta(days=7)
_IDLE_SECONDS = 1.0
_FIRST_BACKOFF_SECONDS = 0.5
_LONGEST_BACKOFF_SECONDS = 30.0
_CHORE_SECONDS = 600.0
_RECEIPTS_AT_ONCE = 1_000

Row = tuple[int, Publication]


class Publisher:
    def __init__(self, store: Store, endpoint: Endpoint) -> None:
        self._store, self._endpoint = store, endpoint

    def run(self, stopping: Callable[[], bool]) -> None:
        """Until ``stopping``. Whatever is away, it is tried again, later and later."""
        backoff_seconds = _FIRST_BACKOFF_SECONDS
        chore_seconds = time.monotonic()
        while not stopping():
            try:
                pushed = self.push_some()
                if time.monotonic() >= chore_seconds:
                    chore_seconds = time.monotonic() + _CHORE_SECONDS
                    self._do_chores()
                backoff_seconds = _FIRST_BACKOFF_SECONDS
                pause_seconds = 0.0 if pushed else _IDLE_SECONDS
            except InfrastructureError as error:
                log.warning("%s", error)
                pause_seconds = backoff_seconds
                backoff_seconds = min(2 * backoff_seconds, _LONGEST_BACKOFF_SECONDS)
            pause(pause_seconds, stopping)

    def push_some(self) -> int:
        """The batch that waits longest; how many publications of it are settled or buried now.

        Raises InfrastructureError; what had got through is settled all the same.
        """
        with self._store.reading() as reading:
            rows = reading.pending(BATCH)
        if rows:
            try:
                self._push(rows)
            except InfrastructureError as error:
                with self._store.transaction() as tx:
                    for id, _ in tx.pending(1):
                        tx.note_delay(id, error.message)
                raise
        return len(rows)

    def _push(self, rows: Sequence[Row]) -> None:
        try:
            self._endpoint.push(publication for _, publication in rows)
        except Refused as refusal:
            if len(rows) == 1:
                ((id, publication),) = rows
                log.error("%s %d was refused: %s", publication.kind, publication.subject, refusal)
                with self._store.transaction() as tx:
                    tx.bury(id, str(refusal))
                return
            middle = len(rows) // 2
            self._push(rows[:middle])
            self._push(rows[middle:])
            return
        with self._store.transaction() as tx:
            tx.settle([id for id, _ in rows])

    def _do_chores(self) -> None:
        gone = _RECEIPTS_AT_ONCE
        while gone == _RECEIPTS_AT_ONCE:
            with self._store.transaction() as tx:
                gone = tx.drop_receipts(datetime.now(UTC) - RECEIPTS, _RECEIPTS_AT_ONCE)
        try:
            reconcile(self._store, self._endpoint, datetime.now(UTC))
        except FarmError as error:
            log.warning("Prometheus was not compared with the database: %s", error)
