"""The agent's own memory: what it runs, and which events the head has not acknowledged yet.

A SQLite file that survives the agent's process. Every event has a sequence number; the head commits it
under (agent, journal id, sequence number) and acknowledges it afterwards, so a crash on either side
repeats an event but never loses or double-counts one.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from farm.types import AgentEvent, Failure, Lease, Measurement

_SCHEMA = """
CREATE TABLE IF NOT EXISTS identity (journal_id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS attempts (
    attempt_id INTEGER PRIMARY KEY, lease TEXT NOT NULL, driver TEXT, handle TEXT
);
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, attempt_id INTEGER NOT NULL, event TEXT NOT NULL
);
"""


# Journals of 0.1.0 knew host processes only; their handle is that of ``agents.drivers.host``.
_FROM_PROCESSES = """
ALTER TABLE attempts ADD COLUMN driver TEXT;
ALTER TABLE attempts ADD COLUMN handle TEXT;
UPDATE attempts SET driver='host', handle=json_array(pid, process_started) WHERE pid IS NOT NULL;
ALTER TABLE attempts DROP COLUMN pid;
ALTER TABLE attempts DROP COLUMN process_started;
"""


class JournalUnwritable(Exception):
    """Its disk is full or does not answer: nothing was written, and it may be tried again."""


class Journal:
    """What writes raises JournalUnwritable, and has written nothing then."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=10, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        # Survives the death of this process, which is its purpose. After a power cut the harness is gone too,
        # and a result that is lost with the last commits is measured again when its lease runs out.
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        if self._db.execute("SELECT 1 FROM pragma_table_info('attempts') WHERE name='pid'").fetchone():
            self._db.executescript(f"BEGIN IMMEDIATE; {_FROM_PROCESSES} COMMIT;")
        row = self._db.execute("SELECT journal_id FROM identity").fetchone()
        if row is None:
            row = (uuid.uuid4().hex,)
            self._db.execute("INSERT INTO identity VALUES (?)", row)
        self.id: str = row[0]

    def close(self) -> None:
        self._db.close()

    def begin(self, lease: Lease) -> bool:
        """Note an attempt. False: it was begun before (running, or its end is still unacknowledged)."""
        known = self._db.execute(
            "SELECT 1 FROM attempts WHERE attempt_id=?1 UNION SELECT 1 FROM events WHERE attempt_id=?1",
            (lease.attempt_id,),
        ).fetchone()
        if known:
            return False
        with self._transaction():
            self._db.execute(
                "INSERT INTO attempts VALUES (?, ?, NULL, NULL)", (lease.attempt_id, lease.model_dump_json())
            )
        return True

    def started(self, lease: Lease, driver: str, handle: str) -> AgentEvent:
        """What runs it: the driver's name, and the handle by which that driver finds the attempt again."""
        with self._transaction():
            self._db.execute(
                "UPDATE attempts SET driver=?, handle=? WHERE attempt_id=?", (driver, handle, lease.attempt_id)
            )
            return self._append(lease, "started")

    def running(self) -> list[tuple[Lease, str | None, str | None]]:
        """Attempts without an end: (lease, driver, handle), both None where it was not started yet."""
        rows = self._db.execute("SELECT lease, driver, handle FROM attempts ORDER BY attempt_id").fetchall()
        return [(Lease.model_validate_json(lease), driver, handle) for lease, driver, handle in rows]

    def end(
        self,
        lease: Lease,
        measurement: Measurement | None = None,
        failure: Failure | None = None,
        device_failure: Failure | None = None,
        blocked: str = "",
    ) -> AgentEvent:
        """Record how an attempt ended, and what is the matter with its device since, and take it off the running
        ones."""
        with self._transaction():
            self._db.execute("DELETE FROM attempts WHERE attempt_id=?", (lease.attempt_id,))
            return self._append(
                lease, "measured" if measurement else "failed", measurement, failure, device_failure, blocked
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk has ended it already
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            raise JournalUnwritable(f"The agent's journal cannot be written: {error}.") from error

    def _append(
        self,
        lease: Lease,
        kind: Literal["started", "measured", "failed"],
        measurement: Measurement | None = None,
        failure: Failure | None = None,
        device_failure: Failure | None = None,
        blocked: str = "",
    ) -> AgentEvent:
        event = AgentEvent(
            seq=0,
            attempt_id=lease.attempt_id,
            epoch=lease.epoch,
            kind=kind,
            at=datetime.now(UTC),
            measurement=measurement,
            failure=failure,
            device_failure=device_failure,
            blocked=blocked,
        )
        cursor = self._db.execute(
            "INSERT INTO events (attempt_id, event) VALUES (?, ?)", (lease.attempt_id, event.model_dump_json())
        )
        return event.model_copy(update={"seq": cursor.lastrowid})

    def events_after(self, seq: int, limit: int = 100) -> list[AgentEvent]:
        rows = self._db.execute(
            "SELECT seq, event FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit)
        ).fetchall()
        return [AgentEvent.model_validate_json(text).model_copy(update={"seq": number}) for number, text in rows]

    def acknowledge(self, seq: int) -> None:
        with self._transaction():
            self._db.execute("DELETE FROM events WHERE seq <= ?", (seq,))
