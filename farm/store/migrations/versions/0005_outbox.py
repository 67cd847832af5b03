"""What is pushed to Prometheus; results by the time they were measured"""

import json
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
AT_ONCE = 500


def upgrade() -> None:
    op.add_column("results", sa.Column("measured_at", sa.DateTime(timezone=True), nullable=True))
    _fill()
    with op.batch_alter_table("results") as results:
        results.alter_column("measured_at", nullable=False)
    op.create_index("ix_results_measured_at", "results", ["measured_at"])
    op.create_table(
        "outbox",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("subject", NUMBER, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("publication", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.UniqueConstraint("kind", "subject", name="uq_outbox_kind_subject"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_state_id", "outbox", ["state", "id"])
    op.create_index("ix_outbox_kind_at", "outbox", ["kind", "at"])
    op.create_table(
        "day_checks",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("expected", sa.Integer(), nullable=False),
        sa.Column("found", sa.Integer(), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("day", name="pk_day_checks"),
    )


def _fill() -> None:
    """From the documents."""
    connection = op.get_bind()
    results = sa.table(
        "results",
        sa.column("job_id", NUMBER),
        sa.column("result", sa.Text()),
        sa.column("measured_at", sa.DateTime(timezone=True)),
    )
    last = -1
    while rows := connection.execute(
        sa.select(results.c.job_id, results.c.result)
        .where(results.c.job_id > last)
        .order_by(results.c.job_id)
        .limit(AT_ONCE)
    ).all():
        connection.execute(
            sa.update(results).where(results.c.job_id == sa.bindparam("job")).values(measured_at=sa.bindparam("at")),
            [{"job": row.job_id, "at": _measured_at(row.result)} for row in rows],
        )
        last = rows[-1].job_id


def _measured_at(result: str) -> datetime:
    return datetime.fromisoformat(json.loads(result)["measured_at"]).astimezone(UTC)
