"""What needs attention is counted in an index: reclaim notices, and webhooks that were given up."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"
oldest_program = "0005"

# A notice as a body has it: in what somebody typed, the quotes are escaped.
_FILL = """UPDATE instances SET spot_notice = 'notified'
WHERE status IN ('creating', 'starting', 'running')
AND body NOT LIKE '%"spot_signal":"terminated"%'
AND (body NOT LIKE '%"spot_signal":"none"%' OR body LIKE '%"reclaim_at":"%')"""


def upgrade() -> None:
    """Add the column and fill it, and index both."""
    op.add_column("instances", sa.Column("spot_notice", sa.String(20)))
    op.execute(sa.text(_FILL))
    op.create_index(
        "ix_instances_spot_notice",
        "instances",
        ["status"],
        unique=False,
        sqlite_where=sa.text("spot_notice IS NOT NULL"),
        postgresql_where=sa.text("spot_notice IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_exhausted",
        "deliveries",
        ["finished_at", "receiver"],
        unique=False,
        sqlite_where=sa.text("status = 'exhausted'"),
        postgresql_where=sa.text("status = 'exhausted'"),
    )
