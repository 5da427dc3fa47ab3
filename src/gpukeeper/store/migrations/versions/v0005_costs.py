"""Rows say what they cost now, and changes of price are events: older programs know neither."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
oldest_program = "0005"

_instances = sa.table(
    "instances",
    *map(sa.column, ("number", "novita_id", "gone_at", "status", "micro_usd_per_hour")),
    *map(sa.column, ("micro_usd_now", "body")),
)
# Few enough to be held in memory, however long the history is.
_ROWS_AT_ONCE = 1000
# As this revision knows them: 60 GB of disk are free, each GB above costs $0.005 a day.
_FREE_DISK_GB, _MICRO_USD_PER_GB_HOUR = 60, 5_000 / 24
_WITHOUT_GPU = frozenset({"preparing", "down", "gone"})
_AT_REST = frozenset({"stopped", "reclaimed"})


def upgrade() -> None:
    """Add the column, fill it for the machines that exist, and index the sum."""
    op.add_column(
        "instances",
        sa.Column("micro_usd_now", sa.BigInteger(), server_default="0", nullable=False),
    )
    _fill(op.get_bind())
    op.create_index(
        "ix_instances_micro_usd_now",
        "instances",
        ["micro_usd_now"],
        unique=False,
        sqlite_where=sa.text("micro_usd_now > 0"),
        postgresql_where=sa.text("micro_usd_now > 0"),
    )


def _fill(connection: sa.Connection) -> None:
    columns = _instances.c
    page = (
        sa.select(columns.number, columns.status, columns.micro_usd_per_hour, columns.body)
        .where(
            columns.number > sa.bindparam("after"),
            columns.novita_id.is_not(None),
            columns.gone_at.is_(None),
        )
        .order_by(columns.number)
        .limit(_ROWS_AT_ONCE)
    )
    change = (
        sa.update(_instances)
        .where(columns.number == sa.bindparam("row"))
        .values(micro_usd_now=sa.bindparam("now"))
    )
    after = 0
    while rows := connection.execute(page, {"after": after}).all():
        connection.execute(change, [{"row": row.number, "now": _cost(row)} for row in rows])
        after = rows[-1].number


def _cost(row: Any) -> int:
    body = json.loads(row.body)
    has_gpu = row.status not in _AT_REST and body.get("phase") not in _WITHOUT_GPU
    paid_gb = max(0, int(body["order"]["rootfs_size_gb"]) - _FREE_DISK_GB)
    gpu = int(row.micro_usd_per_hour or 0) if has_gpu else 0
    return gpu + round(paid_gb * _MICRO_USD_PER_GB_HOUR)
