"""Files that rows no longer refer to: noted in the transaction that lets go of them, removed by ``retention``."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from farm.store import tables
from farm.types import Artifact, Blob, Failure


def note(connection: sa.Connection, digests: set[str]) -> None:
    table = tables.loose_blobs
    known = set(connection.execute(sa.select(table.c.sha256).where(table.c.sha256.in_(sorted(digests)))).scalars())
    if new := sorted(digests - known):
        connection.execute(sa.insert(table), [{"sha256": sha256} for sha256 in new])


def build_log(artifact: Artifact | None, failure: Failure | None) -> Blob | None:
    """Of a build that has ended."""
    return artifact.report.log if artifact else failure.log if failure else None


def note_logs(connection: sa.Connection, keys: Iterable[str], kept: Blob | None = None) -> None:
    """The logs of these builds, which are about to be forgotten or replaced by ``kept``."""
    builds = tables.builds.c
    rows = connection.execute(sa.select(builds.artifact, builds.failure).where(builds.key.in_(sorted(keys)))).all()
    logs = {log.sha256 for row in rows if (log := build_log(row.artifact, row.failure))}
    note(connection, logs - ({kept.sha256} if kept else set()))
