"""The final account, straight from the database, the agents' journals, the disk and the process table.

Each function returns what is wrong, in words; nothing wrong is an empty list.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from pathlib import Path

import sqlalchemy as sa

from farm.coordinator.state import MAX_ATTEMPTS
from tests.chaos.fleet import Fleet

_INJECTED = "The virtual harness crashed"  # what the fleet's profile asks for


def of_jobs(fleet: Fleet) -> list[str]:
    """Every job ended, and a finished one has one result of one finished attempt, the one its epoch names."""
    with fleet.engine.connect() as connection:
        jobs = connection.execute(sa.text("SELECT id, state, epoch, failure FROM jobs")).all()
        attempts = connection.execute(sa.text("SELECT id, job_id, epoch, state FROM attempts")).all()
        results = connection.execute(sa.text("SELECT job_id, result FROM results")).all()
        runs = connection.execute(sa.text("SELECT id, state FROM runs")).all()
    finished: dict[int, list[int]] = {}
    for attempt in attempts:
        if attempt.state == "finished":
            finished.setdefault(attempt.job_id, []).append(attempt.epoch)
    result_epochs = {row.job_id: json.loads(row.result)["epoch"] for row in results}
    wrong = [f"attempt {row.id} of job {row.job_id} is {row.state}" for row in attempts if row.state in _OPEN]
    wrong += [f"run {row.id} is {row.state}" for row in runs if row.state != "finished"]
    for job in jobs:
        epochs = finished.get(job.id, [])
        if job.state == "finished":
            if epochs != [job.epoch] or result_epochs.get(job.id) != job.epoch:
                wrong.append(
                    f"job {job.id} finished at epoch {job.epoch}; finished attempts {epochs}, "
                    f"result of epoch {result_epochs.get(job.id)}"
                )
        elif job.state == "failed":
            failure = json.loads(job.failure)
            exhausted = failure["fault"] == "infrastructure" and job.epoch >= MAX_ATTEMPTS
            if _INJECTED not in failure["message"] and not exhausted:
                wrong.append(f"job {job.id} failed at epoch {job.epoch}: {failure['message']}")
            if epochs or job.id in result_epochs:
                wrong.append(f"job {job.id} failed and has a result")
        else:
            wrong.append(f"job {job.id} is {job.state}")
    return wrong


_OPEN = ("leased", "running")


def of_results(fleet: Fleet) -> tuple[int, int, int]:
    """How many jobs finished; those without a result though nothing in the profile asks for it; results too many."""
    with fleet.engine.connect() as connection:
        jobs = connection.execute(sa.text("SELECT id, state, failure FROM jobs")).all()
        attempts = connection.execute(sa.text("SELECT job_id FROM attempts WHERE state = 'finished'")).scalars().all()
        results = set(connection.execute(sa.text("SELECT job_id FROM results")).scalars())
    lost = [job for job in jobs if job.id not in results and _INJECTED not in (job.failure or "")]
    return sum(job.state == "finished" for job in jobs), len(lost), len(attempts) - len(set(attempts))


def of_devices(fleet: Fleet) -> list[str]:
    with fleet.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT id, state FROM devices WHERE state = 'leased'")).all()
    return [f"device {row.id} is {row.state}" for row in rows]


def of_journals(fleet: Fleet) -> list[str]:
    """An agent at rest remembers nothing: all it did is committed and acknowledged."""
    wrong = []
    for path in fleet.folder.glob("*/agents/*/journal.db"):
        journal = sqlite3.connect(path)
        for table in ("attempts", "events"):
            if count := journal.execute(f"SELECT count(*) FROM {table}").fetchone()[0]:  # noqa: S608
                wrong.append(f"the journal of {path.parent.name} holds {count} {table}")
        journal.close()
    return wrong


def of_files(fleet: Fleet, kills: int) -> list[str]:
    """``kills``: how many processes were killed. Each may leave an upload, which is removed when it is a day old, and
    the folder of a build, which the next build removes."""
    wrong = [f"left: {path.relative_to(fleet.folder)}" for path in _leftovers(fleet.folder)]
    cut_short = [path for pattern in ("*/store/upload-*", "farm-build-*") for path in fleet.folder.glob(pattern)]
    if len(cut_short) > kills:
        wrong.append(f"after {kills} kills are left: {', '.join(path.name for path in cut_short)}")
    return wrong


def _leftovers(folder: Path) -> list[Path]:
    patterns = ("*/agents/*/attempts/*", "*/agents/*/cache/**/*.part", "*/filler")
    return [path for pattern in patterns for path in folder.glob(pattern)]


def of_processes(fleet: Fleet) -> list[str]:
    """Once all is stopped: nothing runs on, and no Ray session lies about."""
    wrong = [f"runs on: {process.pid} {' '.join(process.cmdline())[:100]}" for process in fleet.processes()]
    return wrong + [f"left: {path.name}" for path in fleet.folder.glob("farm-ray-*")]


def summary(fleet: Fleet) -> str:
    """What there was, for people."""
    with fleet.engine.connect() as connection:
        jobs = Counter(connection.execute(sa.text("SELECT state FROM jobs")).scalars())
        attempts = Counter(connection.execute(sa.text("SELECT state FROM attempts")).scalars())
        epochs = Counter(connection.execute(sa.text("SELECT epoch FROM jobs")).scalars())
    return f"jobs {dict(jobs)}, attempts {dict(attempts)}, jobs by number of attempts {dict(sorted(epochs.items()))}"
