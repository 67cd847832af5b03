"""The tables. A column is named as the field of ``farm.types`` that it holds; nested values are JSON documents."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.types import TypeDecorator

from farm.types import (
    Artifact,
    Blob,
    DeviceFacts,
    DeviceReadings,
    Failure,
    Hook,
    ModelSpec,
    Publication,
    Recipe,
    RecoveryStep,
    Regression,
    Result,
    RunSpec,
    Scenario,
    SweepSpec,
)

_FEW, _MANY = 500, 20_000  # parsed documents that are kept: those of the work at hand; of every device of a large farm


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC times on every database; SQLite itself knows no time zones."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Document(TypeDecorator[Any]):
    """A ``farm.types`` value as JSON text. Text, not a native JSON column: what is stored is the wire format.

    ``keep``: so many texts stay parsed, where the same ones are read again and again. Values are frozen: rows share.
    """

    impl = sa.Text
    cache_ok = True

    def __init__(self, kind: Any, *, keep: int = 0) -> None:
        super().__init__()
        self.kind = kind
        self.keep = keep
        self._adapter = TypeAdapter[Any](kind)
        self._parse = lru_cache(keep)(self._adapter.validate_json) if keep else self._adapter.validate_json

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else self._adapter.dump_json(value).decode()

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return None if value is None else self._parse(value)


class Json(TypeDecorator[Any]):
    """Plain values as JSON text. For what is read by the ten thousand, where parsing into types would take longest."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else json.dumps(value, separators=(",", ":"), allow_nan=False)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return None if value is None else json.loads(value)


class Prose(TypeDecorator[str]):
    """Text that may quote a tool's output: what a database refuses in text (NUL, lone surrogates) is replaced."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        if value is None:
            return None
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


# SQLite numbers rows by itself only in a column of type INTEGER.
Number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Digest = sa.String(64)
Word = sa.String(100)

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("name", Word, primary_key=True),
    sa.Column("role", sa.String(20), nullable=False),
    sa.Column("sha256", Digest, nullable=False, unique=True),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

models = sa.Table(
    "models",
    metadata,
    sa.Column("id", Digest, primary_key=True),
    sa.Column("name", Word, nullable=False, index=True),
    sa.Column("spec", Document(ModelSpec, keep=_FEW), nullable=False),
    sa.Column("created_by", Word, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    # The newest of a name is the one uploaded last, be it for the second time.
    sa.Column("uploaded_at", UtcDateTime, nullable=False),
)

builds = sa.Table(
    "builds",
    metadata,
    sa.Column("key", Digest, primary_key=True),
    sa.Column("model_id", Digest, sa.ForeignKey("models.id"), nullable=False),
    sa.Column("recipe", Document(Recipe, keep=_FEW), nullable=False),
    sa.Column("state", sa.String(20), nullable=False, index=True),
    sa.Column("artifact", Document(Artifact, keep=_FEW)),
    sa.Column("failure", Document(Failure)),
    sa.Column("attempts", sa.Integer, nullable=False),
)

devices = sa.Table(
    "devices",
    metadata,
    sa.Column("id", Word, primary_key=True),
    sa.Column("agent", Word, nullable=False, index=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("facts", Document(DeviceFacts, keep=_MANY), nullable=False),
    sa.Column("labels", Document(dict[str, str]), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("last_seen_at", UtcDateTime),
    sa.Column("blocked", Prose, nullable=False, server_default=""),
    sa.Column("readings", Document(DeviceReadings)),
    sa.Column("recovery", Document(tuple[RecoveryStep, ...]), nullable=False, server_default="[]"),
    sa.Column("hooks", Document(tuple[Hook, ...]), nullable=False, server_default="[]"),
    sa.Column("health", sa.String(20), nullable=False, server_default="unknown"),
    sa.Column("health_reason", Prose, nullable=False, server_default=""),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("maintenance", Prose),
    sa.Column("noise_ratio", sa.Float),
)

device_checks = sa.Table(
    "device_checks",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("device_id", Word, sa.ForeignKey("devices.id"), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("step", sa.String(20), nullable=False),
    sa.Column("passed", sa.Boolean, nullable=False),
    sa.Column("detail", Prose, nullable=False),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Index(None, "device_id", "id"),
)

# What people asked of devices and the coordinator has not carried out yet.
device_orders = sa.Table(
    "device_orders",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("device_id", Word, sa.ForeignKey("devices.id"), nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("by", Word, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("reason", Prose, nullable=False),
    sqlite_autoincrement=True,
)

reservations = sa.Table(
    "reservations",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("device_id", Word, sa.ForeignKey("devices.id"), nullable=False, index=True),
    sa.Column("user", Word, nullable=False),
    sa.Column("reason", Prose, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("until", UtcDateTime, nullable=False, index=True),  # brought forward where it is given back early
    sqlite_autoincrement=True,
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("spec", Document(RunSpec, keep=_FEW), nullable=False),
    sa.Column("model_id", Digest, sa.ForeignKey("models.id"), nullable=False),
    sa.Column("model_name", Word, nullable=False),
    sa.Column("state", sa.String(20), nullable=False, index=True),
    sa.Column("created_by", Word, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("finished_at", UtcDateTime),
    sa.Column("cancel_requested_at", UtcDateTime),
    sa.Column("name", Prose, server_default="", nullable=False),  # the spec's, to be searched for
    sa.Index(None, "model_name", "name"),
    sqlite_autoincrement=True,
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("run_id", Number, sa.ForeignKey("runs.id"), nullable=False, index=True),
    sa.Column("recipe", Document(Recipe, keep=_FEW), nullable=False),
    sa.Column("build_key", Digest, sa.ForeignKey("builds.key"), nullable=False, index=True),
    sa.Column("reference_key", Digest, sa.ForeignKey("builds.key")),
    sa.Column("device_id", Word, sa.ForeignKey("devices.id"), nullable=False),
    sa.Column("scenario", Document(Scenario, keep=_FEW), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("reason", Prose, nullable=False),
    sa.Column("failure", Document(Failure)),
    sa.Column("pool", sa.Integer),
    sa.Column("slot", sa.Integer, nullable=False, server_default="0"),
    sa.Column("model_id", Digest),  # of what is measured in turns with another version of the run's model
    sa.Index(None, "run_id", "state"),  # counts the jobs of a run by itself
    sqlite_autoincrement=True,
)

# The devices that a run may choose from.
pools = sa.Table(
    "pools",
    metadata,
    sa.Column("run_id", Number, sa.ForeignKey("runs.id"), primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("candidates", Document(tuple[str, ...]), nullable=False),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("job_id", Number, sa.ForeignKey("jobs.id"), nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("device_id", Word, sa.ForeignKey("devices.id"), nullable=False),
    sa.Column("agent", Word, nullable=False),
    sa.Column("state", sa.String(20), nullable=False, index=True),
    sa.Column("leased_at", UtcDateTime, nullable=False),
    sa.Column("started_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("failure", Document(Failure)),
    sa.Column("measurement", Document(Blob)),
    sa.UniqueConstraint("job_id", "epoch"),
    sa.Index(None, "device_id", "id"),
    sqlite_autoincrement=True,
)

results = sa.Table(
    "results",
    metadata,
    sa.Column("job_id", Number, sa.ForeignKey("jobs.id"), primary_key=True, autoincrement=False),
    sa.Column("result", Document(Result), nullable=False),
    sa.Column("samples", Document(Blob), nullable=False),
    sa.Column("measured_at", UtcDateTime, nullable=False, index=True),  # as in the result, to be searched by
    # Old enough to be thinned, and seen to: ``samples`` are few.
    sa.Column("thinned", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Index(None, "thinned", "measured_at"),
)

# What is to be pushed to Prometheus, and what became of it. Nothing is written here where there is none.
outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("subject", Number, nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("queued_at", UtcDateTime, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),  # pending, done, dead
    sa.Column("reason", Prose, nullable=False, server_default=""),
    sa.Column("publication", Document(Publication)),  # none once it is done
    sa.UniqueConstraint("kind", "subject"),
    sa.Index(None, "state", "id"),
    sa.Index(None, "kind", "at"),
    sqlite_autoincrement=True,
)

# What the nightly comparison of Prometheus with the results found.
day_checks = sa.Table(
    "day_checks",
    metadata,
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("expected", sa.Integer, nullable=False),
    sa.Column("found", sa.Integer, nullable=False),
    sa.Column("checked_at", UtcDateTime, nullable=False),
)

# Run templates; ``spec`` is as it was applied last.
sweeps = sa.Table(
    "sweeps",
    metadata,
    sa.Column("name", Word, primary_key=True),
    sa.Column("spec", Document(SweepSpec, keep=_FEW), nullable=False),
    sa.Column("paused", sa.Boolean, nullable=False),
    sa.Column("created_by", Word, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("changed_at", UtcDateTime, nullable=False),
    sa.Column("next_at", UtcDateTime, index=True),
)

# Executions of sweeps: never two for one due time.
nights = sa.Table(
    "nights",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("sweep", Word, sa.ForeignKey("sweeps.name"), nullable=False),
    sa.Column("due_at", UtcDateTime, nullable=False),
    sa.Column("trigger", sa.String(20), nullable=False),
    sa.Column("state", sa.String(20), nullable=False, index=True),
    sa.Column("requested_by", Word, nullable=False),
    sa.Column("reason", Prose, nullable=False, server_default=""),
    sa.Column("version", sa.Text, nullable=False, server_default=""),
    sa.Column("model_id", Digest, sa.ForeignKey("models.id")),
    sa.Column("run_id", Number, index=True),  # stays when the run is deleted
    sa.Column("started_at", UtcDateTime),
    sa.Column("ended_at", UtcDateTime),
    sa.UniqueConstraint("sweep", "due_at"),
    sqlite_autoincrement=True,
)

# What a version of a sweep's model source came to, by a digest of source, version and name.
preparations = sa.Table(
    "preparations",
    metadata,
    sa.Column("key", Digest, primary_key=True),
    sa.Column("model_id", Digest, sa.ForeignKey("models.id"), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)

# A line per result, which stays when its run is deleted: ``figures`` by metric, with low and high where they have an
# interval.
history = sa.Table(
    "history",
    metadata,
    sa.Column("job_id", Number, primary_key=True, autoincrement=False),
    sa.Column("run_id", Number, nullable=False, index=True),
    sa.Column("night_id", Number, index=True),
    sa.Column("model_name", Word, nullable=False),
    sa.Column("model_id", Digest, nullable=False),
    sa.Column("variant", Word, nullable=False),
    sa.Column("build_key", Digest, nullable=False),
    sa.Column("device_id", Word, nullable=False),
    sa.Column("scenario", sa.String(200), nullable=False),  # may name a tool
    sa.Column("virtual", sa.Boolean, nullable=False),
    sa.Column("trusted", sa.Boolean, nullable=False),
    sa.Column("verdict", sa.String(20), nullable=False),
    sa.Column("reasons", Document(tuple[str, ...], keep=_FEW), nullable=False),
    sa.Column("measured_at", UtcDateTime, nullable=False),
    sa.Column("figures", Json, nullable=False),
    sa.Index(None, "model_name", "variant", "device_id", "measured_at"),
)

# ``confirm_run_id``: the run that measures it once more. The rest is as in the document, to be searched by.
regressions = sa.Table(
    "regressions",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("sweep", Word, sa.ForeignKey("sweeps.name"), nullable=False, index=True),
    sa.Column("night_id", Number, sa.ForeignKey("nights.id"), nullable=False, index=True),
    sa.Column("state", sa.String(20), nullable=False, index=True),
    sa.Column("variant", Word, nullable=False),
    sa.Column("device", Word, nullable=False),
    sa.Column("confirm_run_id", Number),
    sa.Column("regression", Document(Regression), nullable=False),
    sqlite_autoincrement=True,
)

# What is to be said outside of the farm: of one cause once on each channel.
notices = sa.Table(
    "notices",
    metadata,
    sa.Column("id", Number, primary_key=True),
    sa.Column("channel", Word, nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("cause", sa.String(200), nullable=False),  # e.g. "regression 12 confirmed"
    sa.Column("subject", Prose, nullable=False),
    sa.Column("text", Prose, nullable=False),
    sa.Column("data", Document(dict[str, Any]), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),  # pending, sent, dead
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("queued_at", UtcDateTime, nullable=False),
    sa.Column("next_at", UtcDateTime, nullable=False),
    sa.Column("ended_at", UtcDateTime),
    sa.Column("reason", Prose, nullable=False, server_default=""),
    sa.UniqueConstraint("channel", "cause"),
    sa.Index(None, "state", "next_at"),
    sqlite_autoincrement=True,
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", Number, primary_key=True),
    sa.Column("run_id", Number, sa.ForeignKey("runs.id"), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("subject", Prose, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("text", Prose, nullable=False),
    sa.Index(None, "run_id", "seq"),
    sqlite_autoincrement=True,
)

agent_events = sa.Table(
    "agent_events",
    metadata,
    sa.Column("agent", Word, primary_key=True),
    sa.Column("journal_id", Word, primary_key=True),
    sa.Column("seq", Number, primary_key=True, autoincrement=False),
)

# How far the head has acknowledged an agent's journal; ``agent_events`` has only what was committed above it.
agent_journals = sa.Table(
    "agent_journals",
    metadata,
    sa.Column("agent", Word, primary_key=True),
    sa.Column("journal_id", Word, primary_key=True),
    sa.Column("acknowledged", Number, nullable=False),
)

# Files that deleted rows referred to. Whether others still do is looked at before one is removed.
loose_blobs = sa.Table(
    "loose_blobs",
    metadata,
    sa.Column("sha256", Digest, primary_key=True),
)

heartbeats = sa.Table(
    "heartbeats",
    metadata,
    sa.Column("process", Word, primary_key=True),
    sa.Column("at", UtcDateTime, nullable=False),
)
