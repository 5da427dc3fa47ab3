"""The event table, read: what happened to an instance, and what happened since."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select

from gpukeeper.domain.events import Event, EventType
from gpukeeper.store import facts
from gpukeeper.store.tables import events


def list_of_instance(connection: Connection, instance_id: str) -> list[Event]:
    """Return what happened to an instance, oldest first."""
    rows = connection.execute(
        select(events).where(events.c.instance_id == instance_id).order_by(events.c.number)
    )
    return [_event(row) for row in rows]


def list_since(connection: Connection, number: int, limit: int) -> list[Event]:
    """Return the next events after the one of this number, oldest first."""
    return [_event(row) for row in connection.execute(_SINCE, {"number": number, "limit": limit})]


def find_bounds(connection: Connection) -> tuple[int, int]:
    """Return after which number no event is missing, and the newest number that was given."""
    removed_to = facts.find_removed_to(connection)
    return removed_to, max(connection.scalar(_NEWEST) or 0, removed_to)


def find_oldest_at(connection: Connection) -> datetime | None:
    """Return when the oldest event happened; None when there is none."""
    at: datetime | None = connection.scalar(_BEGINS_AT)
    return at


# Built once: building a statement takes longer than SQLite takes to run it.
_SINCE = (
    select(events)
    .where(events.c.number > bindparam("number"))
    .order_by(events.c.number)
    .limit(bindparam("limit"))
)
# Ids sort by time and have an index.
_BEGINS_AT = select(events.c.at).order_by(events.c.id).limit(1)
_NEWEST = select(func.max(events.c.number))


def _event(row: Row[Any]) -> Event:
    return Event(
        id=row.id,
        type=EventType(row.type),
        instance_id=row.instance_id,
        at=row.at,
        data=json.loads(row.data),
        number=row.number,
        traceparent=row.traceparent,
    )
