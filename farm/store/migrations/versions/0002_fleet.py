"""Health, maintenance and reservations of devices; devices to choose from"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    for column in (
        sa.Column("blocked", sa.Text(), nullable=False, server_default=""),
        sa.Column("recovery", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("hooks", sa.Text(), nullable=False, server_default="[]"),
        sa.Column("health", sa.String(length=20), nullable=False, server_default="unknown"),
        sa.Column("health_reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("failures", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("maintenance", sa.Text(), nullable=True),
    ):
        op.add_column("devices", column)
    op.add_column("jobs", sa.Column("pool", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("slot", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("ix_attempts_device_id_id", "attempts", ["device_id", "id"])

    op.create_table(
        "device_checks",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("device_id", sa.String(length=100), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("step", sa.String(length=20), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_device_checks_device_id"),
        sa.PrimaryKeyConstraint("id", name="pk_device_checks"),
    )
    op.create_index("ix_device_checks_device_id_id", "device_checks", ["device_id", "id"])

    op.create_table(
        "device_orders",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("device_id", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("by", sa.String(length=100), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_device_orders_device_id"),
        sa.PrimaryKeyConstraint("id", name="pk_device_orders"),
        sqlite_autoincrement=True,
    )

    op.create_table(
        "reservations",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("device_id", sa.String(length=100), nullable=False),
        sa.Column("user", sa.String(length=100), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_reservations_device_id"),
        sa.PrimaryKeyConstraint("id", name="pk_reservations"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_reservations_device_id", "reservations", ["device_id"])
    op.create_index("ix_reservations_until", "reservations", ["until"])

    op.create_table(
        "pools",
        sa.Column("run_id", NUMBER, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("candidates", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_pools_run_id"),
        sa.PrimaryKeyConstraint("run_id", "number", name="pk_pools"),
    )
