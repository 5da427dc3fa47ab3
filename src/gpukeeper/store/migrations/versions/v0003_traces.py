"""Events keep their place in a trace, so that their webhooks belong to it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
oldest_program = "0001"


def upgrade() -> None:
    """Add the column; older events have no place."""
    op.add_column("events", sa.Column("traceparent", sa.String(64)))
