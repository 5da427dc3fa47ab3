"""What a newer version may only do when no replica of this one is left."""

from alembic import op

revision = "9002"
down_revision = "9001"
oldest_program = "9001"


def upgrade() -> None:
    """Remove an index without which this version reads a whole table."""
    op.drop_index("ix_instances_status", "instances")
