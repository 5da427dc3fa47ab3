"""The event table, read: what happened to an instance, and what happened since."""

import json
from typing import Any

from sqlalchemy import Connection, Row, select

from gpukeeper.domain.events import Event, EventType
from gpukeeper.store.tables import events


def of_instance(connection: Connection, instance_id: str) -> list[Event]:
    """Return what happened to an instance, oldest first."""
    rows = connection.execute(
        select(events).where(events.c.instance_id == instance_id).order_by(events.c.number)
    )
    return [_event(row) for row in rows]


def _event(row: Row[Any]) -> Event:
    return Event(
        id=row.id,
        type=EventType(row.type),
        instance_id=row.instance_id,
        at=row.at,
        data=json.loads(row.data),
        number=row.number,
    )
