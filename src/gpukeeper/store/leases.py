"""Leases: the right to work on a row for a while, on any table with the two lease columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    FromClause,
    Table,
    Update,
    bindparam,
    or_,
    select,
    update,
)

from gpukeeper.store.tables import UtcTime


@dataclass(frozen=True, slots=True)
class Lease:
    """One worker's right to work on the rows that carry its token, until it expires."""

    token: str
    until: datetime


# What a statement with one of the conditions below is executed with.
NOW = bindparam("now", type_=UtcTime)
HELD: BindParameter[str] = bindparam("held_token")
# What the columns of a lease hold when there is none.
NO_LEASE = {"lease_token": None, "lease_until": None}


def is_free(table: FromClause) -> ColumnElement[bool]:
    """Return the condition that at ``NOW`` nobody works on the row, or has fallen silent."""
    return or_(table.c.lease_until.is_(None), table.c.lease_until <= NOW)


def is_held(table: Table) -> ColumnElement[bool]:
    """Return the condition that the row is still ours: it carries the token ``HELD``."""
    return table.c.lease_token == HELD


def take(connection: Connection, table: Table, ids: Sequence[str], lease: Lease) -> None:
    """Mark rows as ours; the caller has selected them as free in the same transaction."""
    parameters = {"ids": ids, "token": lease.token, "until": lease.until}
    connection.execute(_take(table), parameters)


def renew(
    connection: Connection, table: Table, held: Mapping[str, str], until: datetime
) -> set[str]:
    """Extend the leases of rows (id -> token) that are still held, and return their ids.

    One that was lost stays lost.
    """
    # Locked in the order of their ids, as everyone locks who changes several rows.
    ours = (
        select(table.c.id)
        .where(table.c.id.in_(held.keys()), table.c.lease_token.in_(set(held.values())))
        .order_by(table.c.id)
        .with_for_update()
    )
    extended = update(table).where(table.c.id.in_(ours)).values(lease_until=until)
    return set(connection.scalars(extended.returning(table.c.id)))


def shorten(connection: Connection, table: Table, until: datetime) -> None:
    """Let every lease end by then: after the clock was set back they would last too long."""
    connection.execute(
        update(table)
        .where(table.c.lease_token.is_not(None), table.c.lease_until > until)
        .values(lease_until=until)
    )


def release(connection: Connection, table: Table, row_id: str, token: str) -> None:
    """Give a row back; nothing happens when it is no longer ours."""
    connection.execute(_release(table), {"row_id": row_id, HELD.key: token})


def release_all(connection: Connection, table: Table) -> int:
    """Free every row and return how many were held: nobody else can be working on them.

    Only for a store with a single engine, when that engine starts.
    """
    return connection.execute(
        update(table).where(table.c.lease_token.is_not(None)).values(NO_LEASE)
    ).rowcount


# Built once: building a statement takes longer than SQLite takes to run it.
@cache
def _take(table: Table) -> Update:
    return (
        update(table)
        .where(table.c.id.in_(bindparam("ids", expanding=True)))
        .values(lease_token=bindparam("token"), lease_until=bindparam("until"))
    )


@cache
def _release(table: Table) -> Update:
    return update(table).where(table.c.id == bindparam("row_id"), is_held(table)).values(NO_LEASE)
