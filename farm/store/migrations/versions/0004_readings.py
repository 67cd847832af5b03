"""What agents last read of devices that have a battery or a thermal state"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("devices", sa.Column("readings", sa.Text(), nullable=True))
