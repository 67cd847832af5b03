"""Sweeps and their nights, the history of results, regressions, notices; runs by name"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
AT_ONCE = 500


def upgrade() -> None:
    op.create_table(
        "history",
        sa.Column("job_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("run_id", NUMBER, nullable=False),
        sa.Column("night_id", NUMBER, nullable=True),
        sa.Column("model_name", sa.String(length=100), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("variant", sa.String(length=100), nullable=False),
        sa.Column("build_key", sa.String(length=64), nullable=False),
        sa.Column("device_id", sa.String(length=100), nullable=False),
        sa.Column("scenario", sa.String(length=100), nullable=False),
        sa.Column("virtual", sa.Boolean(), nullable=False),
        sa.Column("trusted", sa.Boolean(), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("figures", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_history"),
    )
    op.create_index(
        "ix_history_model_name_variant_device_id_measured_at",
        "history",
        ["model_name", "variant", "device_id", "measured_at"],
    )
    op.create_index("ix_history_night_id", "history", ["night_id"])
    op.create_index("ix_history_run_id", "history", ["run_id"])
    op.create_table(
        "notices",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("channel", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("cause", sa.String(length=200), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_notices"),
        sa.UniqueConstraint("channel", "cause", name="uq_notices_channel_cause"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_notices_state_next_at", "notices", ["state", "next_at"])
    op.create_table(
        "sweeps",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.String(length=100), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_sweeps"),
    )
    op.create_index("ix_sweeps_next_at", "sweeps", ["next_at"])
    op.create_table(
        "nights",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("sweep", sa.String(length=100), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("trigger", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("requested_by", sa.String(length=100), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("version", sa.Text(), server_default="", nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=True),
        sa.Column("run_id", NUMBER, nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_nights_model_id"),
        sa.ForeignKeyConstraint(["sweep"], ["sweeps.name"], name="fk_nights_sweep"),
        sa.PrimaryKeyConstraint("id", name="pk_nights"),
        sa.UniqueConstraint("sweep", "due_at", name="uq_nights_sweep_due_at"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_nights_run_id", "nights", ["run_id"])
    op.create_index("ix_nights_state", "nights", ["state"])
    op.create_table(
        "preparations",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("model_id", sa.String(length=64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name="fk_preparations_model_id"),
        sa.PrimaryKeyConstraint("key", name="pk_preparations"),
    )
    op.create_table(
        "regressions",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("sweep", sa.String(length=100), nullable=False),
        sa.Column("night_id", NUMBER, nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("confirm_run_id", NUMBER, nullable=True),
        sa.Column("regression", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["night_id"], ["nights.id"], name="fk_regressions_night_id"),
        sa.ForeignKeyConstraint(["sweep"], ["sweeps.name"], name="fk_regressions_sweep"),
        sa.PrimaryKeyConstraint("id", name="pk_regressions"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_regressions_night_id", "regressions", ["night_id"])
    op.create_index("ix_regressions_state", "regressions", ["state"])
    op.create_index("ix_regressions_sweep", "regressions", ["sweep"])

    # No foreign key: SQLite would have to make the table anew, which others refer to.
    op.add_column("jobs", sa.Column("model_id", sa.String(length=64), nullable=True))

    op.add_column("runs", sa.Column("name", sa.Text(), server_default="", nullable=False))
    _name_runs()
    op.create_index("ix_runs_model_name_name", "runs", ["model_name", "name"])


def _name_runs() -> None:
    """From the documents."""
    connection = op.get_bind()
    runs = sa.table("runs", sa.column("id", NUMBER), sa.column("spec", sa.Text()), sa.column("name", sa.Text()))
    query = sa.select(runs.c.id, runs.c.spec).order_by(runs.c.id).limit(AT_ONCE)
    last = 0
    while rows := connection.execute(query.where(runs.c.id > last)).all():
        connection.execute(
            sa.update(runs).where(runs.c.id == sa.bindparam("run")).values(name=sa.bindparam("called")),
            [{"run": row.id, "called": _name(row.spec)} for row in rows],
        )
        last = rows[-1].id


def _name(spec: str) -> str:
    """What a database refuses in text is replaced, as in every column of prose."""
    name: str = json.loads(spec).get("name", "")
    return name.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
