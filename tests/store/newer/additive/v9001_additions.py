"""What a newer version may add while this one goes on working."""

import sqlalchemy as sa
from alembic import op

from tests.store.newer.programs import THIS

revision = "9001"
down_revision = THIS.newest
# This version knows it, whatever else it knows by now.
oldest_program = "0003"


def upgrade() -> None:
    """Add a table, columns that may be null or have a default, and an index."""
    op.create_table("notes", sa.Column("key", sa.String(40), primary_key=True))
    op.add_column("instances", sa.Column("note", sa.Text(), nullable=True))
    op.add_column(
        "deliveries", sa.Column("weight", sa.Integer(), nullable=False, server_default="1")
    )
    op.create_index("ix_deliveries_weight", "deliveries", ["weight"])
