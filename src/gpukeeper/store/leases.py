"""Leases: the right to work on a row for a while, on any table with the two lease columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Table, and_, or_, update


@dataclass(frozen=True, slots=True)
class Lease:
    """One worker's right to work on the rows that carry its token, until it expires."""

    token: str
    until: datetime


def is_free(table: Table, now: datetime) -> ColumnElement[bool]:
    """Return the condition that nobody works on the row, or whoever did has fallen silent."""
    return or_(table.c.lease_until.is_(None), table.c.lease_until <= now)


def is_held(table: Table, lease_token: str) -> ColumnElement[bool]:
    """Return the condition that the row is still ours."""
    return table.c.lease_token == lease_token


def take(connection: Connection, table: Table, ids: Sequence[str], lease: Lease) -> None:
    """Mark rows as ours; the caller has selected them as free in the same transaction."""
    connection.execute(
        update(table)
        .where(table.c.id.in_(ids))
        .values(lease_token=lease.token, lease_until=lease.until)
    )


def renew(connection: Connection, table: Table, tokens: Sequence[str], until: datetime) -> None:
    """Extend leases that are still held; one that was lost stays lost."""
    connection.execute(
        update(table).where(table.c.lease_token.in_(tokens)).values(lease_until=until)
    )


def release(connection: Connection, table: Table, row_id: str, token: str) -> None:
    """Give a row back; nothing happens when it is no longer ours."""
    connection.execute(
        update(table)
        .where(and_(table.c.id == row_id, table.c.lease_token == token))
        .values(lease_token=None, lease_until=None)
    )


def release_all(connection: Connection, table: Table) -> int:
    """Free every row and return how many were held: nobody else can be working on them.

    Only for a store with a single engine, when that engine starts.
    """
    return connection.execute(
        update(table)
        .where(table.c.lease_token.is_not(None))
        .values(lease_token=None, lease_until=None)
    ).rowcount
