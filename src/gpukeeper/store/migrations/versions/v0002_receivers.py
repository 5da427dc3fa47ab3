"""Deliveries know their receiver, so that what is due is found per receiver."""

import sqlalchemy as sa
from alembic import op

from gpukeeper.domain.fairness import receiver_of

revision = "0002"
down_revision = "0001"
oldest_program = "0001"

_deliveries = sa.table("deliveries", sa.column("number"), sa.column("url"), sa.column("receiver"))
# Few enough to be held in memory, however long the history is.
_ROWS_AT_ONCE = 1000


def upgrade() -> None:
    """Add the column, fill it, and index by it what is due."""
    op.add_column("deliveries", sa.Column("receiver", sa.Text(), server_default="", nullable=False))
    _fill(op.get_bind())
    op.drop_index("ix_deliveries_due_at", "deliveries")
    op.drop_index("ix_deliveries_url", "deliveries")
    op.create_index(
        "ix_deliveries_url",
        "deliveries",
        ["url"],
        unique=False,
        sqlite_where=sa.text("status = 'pending'"),
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "ix_deliveries_receiver",
        "deliveries",
        ["receiver", "due_at"],
        unique=False,
        sqlite_where=sa.text("status = 'pending' AND due_at IS NOT NULL"),
        postgresql_where=sa.text("status = 'pending' AND due_at IS NOT NULL"),
    )


def _fill(connection: sa.Connection) -> None:
    number, url = _deliveries.c.number, _deliveries.c.url
    page = (
        sa.select(number, url)
        .where(number > sa.bindparam("after"))
        .order_by(number)
        .limit(_ROWS_AT_ONCE)
    )
    change = (
        sa.update(_deliveries)
        .where(number == sa.bindparam("row"))
        .values(receiver=sa.bindparam("of"))
    )
    after = 0
    while rows := connection.execute(page, {"after": after}).all():
        connection.execute(
            change, [{"row": row.number, "of": receiver_of(row.url)} for row in rows]
        )
        after = rows[-1].number
