"""Watermarks of the agents' journals; blobs that deleted rows have left behind; jobs counted by an index"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "agent_journals",
        sa.Column("agent", sa.String(length=100), nullable=False),
        sa.Column("journal_id", sa.String(length=100), nullable=False),
        sa.Column("acknowledged", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("agent", "journal_id", name="pk_agent_journals"),
    )
    op.create_table(
        "loose_blobs",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_loose_blobs"),
    )
    op.drop_index("ix_jobs_state", "jobs")
    op.create_index("ix_jobs_run_id_state", "jobs", ["run_id", "state"])
