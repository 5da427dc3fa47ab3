"""What has been kept for long enough: deliveries with their attempts, and events, in portions.

Old rows are walked in the order of their ids, which sort by time, so that a portion reads and
removes a bounded number of rows however many there are and however many of them stay.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    BindParameter,
    Connection,
    and_,
    bindparam,
    delete,
    exists,
    not_,
    or_,
    select,
)

from gpukeeper.domain import ids
from gpukeeper.store import facts
from gpukeeper.store.tables import (
    IS_PENDING,
    UtcTime,
    deliveries,
    delivery_attempts,
    events,
    instances,
)


@dataclass(frozen=True, slots=True)
class OldRows:
    """Some old rows: the numbers of those that may go, and the id of the last one of all.

    ``last_id`` is None when there is none left.
    """

    numbers: Sequence[int]
    last_id: str | None


def old_deliveries(connection: Connection, before: datetime, after: str, limit: int) -> OldRows:
    """Return the next deliveries after this id, with at most ``limit`` rows and their attempts.

    One goes when it is older and was over before; one that is pending stays.
    """
    walk = {"after": after, "end": ids.earliest_id("dlv", before), "limit": limit}
    numbers: list[int] = []
    last_id, rows = None, 0
    for row in connection.execute(_OLD_DELIVERIES, walk | {"before": before}):
        rows += 1 + row.attempts
        if rows > limit and last_id is not None:
            break
        last_id = row.id
        if row.may_go:
            numbers.append(row.number)
    return OldRows(numbers, last_id)


def remove_deliveries(
    connection: Connection, numbers: Sequence[int], before: datetime
) -> Counter[str]:
    """Remove those deliveries that still may go, with their attempts; return how many rows."""
    found = connection.execute(_STILL_OVER, {"numbers": numbers, "before": before}).all()
    attempts = connection.execute(_REMOVE_ATTEMPTS, {"ids": [row.id for row in found]})
    removed = connection.execute(_REMOVE_DELIVERIES, {"numbers": [row.number for row in found]})
    return Counter(deliveries=removed.rowcount, attempts=attempts.rowcount)


def old_events(connection: Connection, before: datetime, after: str, limit: int) -> OldRows:
    """Return the next events after this id, at most ``limit``.

    One goes when it is older, has no delivery left, and its instance has had no machine since
    then: what a machine has cost is told from its whole history.
    """
    walk = {"after": after, "end": ids.earliest_id("evt", before), "limit": limit}
    rows = connection.execute(_OLD_EVENTS, walk | {"before": before}).all()
    return OldRows([row.number for row in rows if row.may_go], rows[-1].id if rows else None)


def remove_events(connection: Connection, numbers: Sequence[int], before: datetime) -> Counter[str]:
    """Remove those events that still may go, and note it for those who follow; return how many.

    The duty to remove must be held.
    """
    removed = connection.execute(_REMOVE_EVENTS, {"numbers": numbers, "before": before})
    facts.record_removed(connection, max(numbers))
    return Counter(events=removed.rowcount)


_BEFORE = bindparam("before", type_=UtcTime)
_NUMBERS: BindParameter[Sequence[int]] = bindparam("numbers", expanding=True)

# Built once: building a statement takes longer than SQLite takes to run it.
_IS_OVER = and_(not_(IS_PENDING), deliveries.c.finished_at < _BEFORE)
_OLD_DELIVERIES = (
    select(deliveries.c.id, deliveries.c.number, deliveries.c.attempts, _IS_OVER.label("may_go"))
    .where(deliveries.c.id > bindparam("after"), deliveries.c.id < bindparam("end"))
    .order_by(deliveries.c.id)
    .limit(bindparam("limit"))
)
# One that somebody redelivers just now stays.
_STILL_OVER = (
    select(deliveries.c.id, deliveries.c.number)
    .where(deliveries.c.number.in_(_NUMBERS), _IS_OVER)
    .with_for_update(skip_locked=True)
)
_REMOVE_ATTEMPTS = delete(delivery_attempts).where(
    delivery_attempts.c.delivery_id.in_(bindparam("ids", expanding=True))
)
_REMOVE_DELIVERIES = delete(deliveries).where(deliveries.c.number.in_(_NUMBERS))

_HAS_DELIVERY = exists().where(deliveries.c.event_number == events.c.number)
_HAD_MACHINE_SINCE = exists().where(
    instances.c.id == events.c.instance_id,
    instances.c.novita_id.is_not(None),
    or_(instances.c.gone_at.is_(None), instances.c.gone_at >= _BEFORE),
)
_MAY_GO = and_(events.c.at < _BEFORE, not_(or_(_HAS_DELIVERY, _HAD_MACHINE_SINCE)))
_OLD_EVENTS = (
    select(events.c.id, events.c.number, _MAY_GO.label("may_go"))
    .where(events.c.id > bindparam("after"), events.c.id < bindparam("end"))
    .order_by(events.c.id)
    .limit(bindparam("limit"))
)
_REMOVE_EVENTS = delete(events).where(events.c.number.in_(_NUMBERS), _MAY_GO)
