"""What the journal keeps over the death of the agent."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from agents.journal import Journal, JournalUnwritable
from farm.errors import DeviceError
from farm.types import Blob, Failure, Lease, Protocol, Scenario

BLOB = Blob(name="model.onnx", sha256="0" * 64, size_bytes=1)
FAILURE = Failure.of(DeviceError("The harness crashed.", remedy="See the log."))


def lease(attempt_id: int) -> Lease:
    return Lease(
        attempt_id=attempt_id,
        job_id=7,
        epoch=1,
        device_id="bench-cpu",
        runtime="onnxruntime",
        files=(BLOB,),
        example_inputs=BLOB,
        parity_inputs=BLOB,
        reference_outputs=BLOB,
        scenario=Scenario(),
        protocol=Protocol(),
        ttl_seconds=30,
    )


def test_it_remembers_over_a_restart(tmp_path: Path) -> None:
    first = Journal(tmp_path / "journal.db")
    assert first.begin(lease(1))
    started = first.started(lease(1), "host", "[4711, 123.5]")
    first.begin(lease(2))
    failed = first.end(lease(2), failure=FAILURE)
    first.close()

    second = Journal(tmp_path / "journal.db")
    assert second.id == first.id
    assert second.running() == [(lease(1), "host", "[4711, 123.5]")]
    assert second.events_after(0) == [started, failed]
    assert second.events_after(started.seq) == [failed]
    second.close()


def test_an_attempt_is_begun_once_until_its_end_is_acknowledged(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    assert journal.begin(lease(1))
    assert not journal.begin(lease(1))
    end = journal.end(lease(1), failure=FAILURE)
    assert not journal.begin(lease(1)), "its end is not acknowledged yet"
    journal.acknowledge(end.seq)
    assert journal.events_after(0) == []
    assert journal.started(lease(1), "host", "[4711, 1.0]").seq > end.seq, "numbers are never used twice"
    journal.close()


def test_a_lost_journal_is_told_by_its_identity(tmp_path: Path) -> None:
    first, second = Journal(tmp_path / "a.db"), Journal(tmp_path / "b.db")
    assert first.id != second.id
    first.close()
    second.close()


def test_a_journal_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    """Which had columns for a process in place of driver and handle."""
    with sqlite3.connect(tmp_path / "journal.db") as old:
        old.executescript(
            """
            CREATE TABLE identity (journal_id TEXT NOT NULL);
            CREATE TABLE attempts (
                attempt_id INTEGER PRIMARY KEY, lease TEXT NOT NULL, pid INTEGER, process_started REAL
            );
            CREATE TABLE events (
                seq INTEGER PRIMARY KEY AUTOINCREMENT, attempt_id INTEGER NOT NULL, event TEXT NOT NULL
            );
            INSERT INTO identity VALUES ('abc');
            """
        )
        rows = [(1, lease(1).model_dump_json(), 4711, 1763780000.25), (2, lease(2).model_dump_json(), None, None)]
        old.executemany("INSERT INTO attempts VALUES (?, ?, ?, ?)", rows)
    old.close()
    for life in range(2):
        journal = Journal(tmp_path / "journal.db")
        assert journal.id == "abc"
        assert journal.running() == [(lease(1), "host", "[4711,1763780000.25]"), (lease(2), None, None)]
        assert journal.begin(lease(3 + life))
        journal.end(lease(3 + life), failure=FAILURE)
        journal.close()


def test_what_a_full_disk_refused_is_not_there_and_can_be_written_later(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal._db.execute("PRAGMA max_page_count=1")  # as few as there are
    begun = 0
    with pytest.raises(JournalUnwritable, match="full"):
        while journal.begin(lease(begun + 1)):
            begun += 1
    assert [known.attempt_id for known, _, _ in journal.running()] == list(range(1, begun + 1))
    journal._db.execute("PRAGMA max_page_count=1000")
    assert journal.begin(lease(begun + 1))
    journal.close()
