"""The units of work on deliveries: claim what is due, finish it, redeliver, and list.

A pending delivery without ``due_at`` waits for the one before it in its lane.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)

from gpukeeper.domain.deliveries import Delivery, DeliveryAttempt, DeliveryStatus
from gpukeeper.domain.errors import LeaseLost
from gpukeeper.domain.events import Event, EventType
from gpukeeper.domain.fairness import Capacity
from gpukeeper.domain.wakeups import LoopName
from gpukeeper.store import leases
from gpukeeper.store.db import notify
from gpukeeper.store.db.postgres import is_postgres
from gpukeeper.store.db.upsert import upsert
from gpukeeper.store.fair_claim import due_per_receiver, due_per_receiver_lateral, next_due
from gpukeeper.store.leases import HELD, NOW, Lease
from gpukeeper.store.tables import (
    IS_EXHAUSTED,
    IS_PENDING,
    UtcTime,
    deliveries,
    delivery_attempts,
    ended_urls,
    events,
)


@dataclass(frozen=True, slots=True)
class Undelivered:
    """How many deliveries were given up, to how many receivers, and one of these: host:port."""

    count: int = 0
    receivers: int = 0
    receiver: str = ""


def claim(connection: Connection, now: datetime, lease: Lease, *, room: Capacity) -> list[Delivery]:
    """Lease deliveries that are due, as many as there is room for, and return them oldest first.

    When there is not room for all, receivers take turns, prompt ones before the others.
    """
    parameters = {
        NOW.key: now,
        "prompt": list(room.prompt),
        "per_receiver": room.per_prompt,
        # Busy receivers get less than the statement gives them: so many more to choose from.
        "limit": room.free + room.per_prompt * len(room.under_way),
    }
    statement = _DUE_PER_RECEIVER_LATERAL if is_postgres(connection) else _DUE_PER_RECEIVER
    due = connection.execute(statement, parameters)
    ids = room.choose((row.id, row.receiver) for row in due)
    if ids:
        # Of those that several processes have found due, each gets what it locks first.
        ids = list(connection.scalars(_LOCK_DUE, {"ids": ids, NOW.key: now}))
    if not ids:
        return []
    leases.take(connection, deliveries, ids, lease)
    return _read(connection, deliveries.c.id.in_(ids))


def next_due_at(connection: Connection, now: datetime, *, room: Capacity) -> datetime | None:
    """Return when the next delivery is due that nobody works on and that there is room for."""
    parameters: dict[str, Any] = {NOW.key: now, "full": room.full}
    due_at: datetime | None
    if room.of_slow:
        due_at = connection.scalar(_NEXT_DUE_AT, parameters)
    else:
        due_at = connection.scalar(_NEXT_PROMPT_DUE_AT, parameters | {"prompt": list(room.prompt)})
    return due_at


def finish(
    connection: Connection, delivery: Delivery, attempt: DeliveryAttempt, lease_token: str
) -> bool:
    """Store an attempt and what became of its delivery, and give the lease back.

    Returns whether anything of its lane is due now or later: itself again, or the one that waited
    for it.  Raises LeaseLost when someone else owns the delivery by now.
    """
    if delivery.status is DeliveryStatus.ENDED:
        connection.execute(_LOCK_URL, {"url": delivery.url})
    row = {"row_id": delivery.id, HELD.key: lease_token}
    if delivery.status is DeliveryStatus.EXHAUSTED:
        allowed_attempts = connection.scalar(_ALLOWED_ATTEMPTS, row)
        if allowed_attempts is not None and delivery.attempts < allowed_attempts:
            # It was redelivered while its last attempt was under way.
            due_at = delivery.finished_at
            pending = DeliveryStatus.PENDING
            delivery = replace(delivery, status=pending, due_at=due_at, finished_at=None)
    finished = connection.execute(
        _FINISH,
        row
        | leases.NO_LEASE
        | {
            "status": delivery.status.value,
            "attempts": delivery.attempts,
            "due_at": delivery.due_at,
            "finished_at": delivery.finished_at,
        },
    )
    if not finished.rowcount:
        raise LeaseLost
    connection.execute(insert(delivery_attempts), _attempt_columns(delivery.id, attempt))
    is_any_due = delivery.status is DeliveryStatus.PENDING
    if delivery.status is not DeliveryStatus.PENDING:
        go = {"of_lane": delivery.lane, "at": delivery.finished_at}
        is_any_due = connection.execute(_LET_NEXT_GO, go).rowcount > 0
    if delivery.status is DeliveryStatus.ENDED:
        _end(connection, delivery)
    elif delivery.status is DeliveryStatus.DELIVERED:
        connection.execute(_TAKE_UP, {"url": delivery.url})
    return is_any_due


def redeliver(connection: Connection, delivery_id: str, now: datetime, retries: int) -> bool:
    """Make a delivery due again with its retries renewed; False if there is no such delivery.

    One that is pending is tried now and keeps its count; one that waits for another in its lane
    goes on waiting.
    """
    waits = and_(IS_PENDING, deliveries.c.due_at.is_(None))
    found = connection.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery_id)
        .values(
            status=DeliveryStatus.PENDING.value,
            due_at=case((waits, None), else_=literal(now, UtcTime)),
            finished_at=None,
            allowed_attempts=deliveries.c.attempts + 1 + retries,
        )
    )
    notify.notify(connection, (LoopName.DELIVER,))
    return found.rowcount > 0


def make_due(connection: Connection, now: datetime) -> None:
    """Make due now whatever is due later: after the clock was set back it would be due too late."""
    connection.execute(
        update(deliveries)
        .where(IS_PENDING, deliveries.c.due_at > now)
        .values(due_at=literal(now, UtcTime))
    )


def find(connection: Connection, delivery_id: str) -> Delivery | None:
    """Return a delivery."""
    return next(iter(_read(connection, deliveries.c.id == delivery_id)), None)


def list_attempts(connection: Connection, delivery_id: str) -> list[DeliveryAttempt]:
    """Return a delivery's attempts, first to last."""
    rows = connection.execute(
        select(delivery_attempts)
        .where(delivery_attempts.c.delivery_id == delivery_id)
        .order_by(delivery_attempts.c.number)
    )
    return [
        DeliveryAttempt(
            number=row.number,
            at=row.at,
            duration=timedelta(microseconds=row.duration_us),
            response_status=row.response_status,
            error=row.error,
            answer=row.answer,
        )
        for row in rows
    ]


def list_page(
    connection: Connection,
    *,
    status: DeliveryStatus | None,
    instance_id: str | None,
    before: int | None,
    limit: int,
) -> tuple[list[Delivery], int | None]:
    """Return deliveries newest first, and where the next page begins."""
    conditions: list[ColumnElement[bool]] = []
    if status is not None:
        conditions.append(deliveries.c.status == status.value)
    if instance_id is not None:
        conditions.append(deliveries.c.instance_id == instance_id)
    if before is not None:
        conditions.append(deliveries.c.number < before)
    numbers = connection.scalars(
        select(deliveries.c.number)
        .where(*conditions)
        .order_by(deliveries.c.number.desc())
        .limit(limit + 1)
    ).all()
    shown = numbers[:limit]
    following = shown[-1] if len(numbers) > limit else None
    return _read(connection, deliveries.c.number.in_(shown))[::-1], following


def count_pending(connection: Connection) -> tuple[int, datetime | None]:
    """Return how many deliveries are pending, and since when the oldest of them is."""
    row = connection.execute(
        select(func.count(), func.min(deliveries.c.created_at)).where(IS_PENDING)
    ).one()
    return row[0], row[1]


def count_undelivered(connection: Connection, since: datetime) -> Undelivered:
    """Return what was given up since then and not sent again."""
    row = connection.execute(_UNDELIVERED, {"since": since}).one()
    return Undelivered(row[0], row[1], row[2] or "")


def count_due(connection: Connection, now: datetime) -> tuple[int, datetime | None]:
    """Return how many deliveries are due that nobody works on, and since when the oldest is.

    Whatever room there is for them.
    """
    row = connection.execute(_WAITING, {NOW.key: now}).one()
    return row[0], row[1]


# Built once: building a statement takes longer than SQLite takes to run it.
_UNDELIVERED = select(
    func.count(),
    func.count(deliveries.c.receiver.distinct()),
    func.min(deliveries.c.receiver),
).where(IS_EXHAUSTED, deliveries.c.finished_at >= bindparam("since", type_=UtcTime))
_DUE_PER_RECEIVER = due_per_receiver()
_DUE_PER_RECEIVER_LATERAL = due_per_receiver_lateral()
_LOCK_DUE = (
    select(deliveries.c.id)
    .where(
        deliveries.c.id.in_(bindparam("ids", expanding=True)),
        IS_PENDING,
        deliveries.c.due_at <= NOW,
        leases.is_free(deliveries),
    )
    .with_for_update(skip_locked=True)
)
# All that wait for this URL, in one order for everyone: nobody lets one go or adds one meanwhile.
_LOCK_URL = (
    select(deliveries.c.number)
    .where(deliveries.c.url == bindparam("url"), IS_PENDING)
    .order_by(deliveries.c.id)
    .with_for_update()
)
_WAITING = select(func.count(), func.min(deliveries.c.due_at)).where(
    IS_PENDING, deliveries.c.due_at <= NOW, leases.is_free(deliveries)
)
_NEXT_DUE_AT = next_due(is_prompt_only=False)
_NEXT_PROMPT_DUE_AT = next_due(is_prompt_only=True)
_IS_OURS = and_(deliveries.c.id == bindparam("row_id"), leases.is_held(deliveries))
_ALLOWED_ATTEMPTS = select(deliveries.c.allowed_attempts).where(_IS_OURS).with_for_update()
_FINISH = update(deliveries).where(_IS_OURS)
# The next delivery of the lane waited for the one that is done.
_LET_NEXT_GO = (
    update(deliveries)
    .where(
        deliveries.c.number
        == select(func.min(deliveries.c.number))
        .where(deliveries.c.lane == bindparam("of_lane"), IS_PENDING)
        .scalar_subquery(),
        deliveries.c.due_at.is_(None),
    )
    .values(due_at=bindparam("at"))
)
_TAKE_UP = delete(ended_urls).where(ended_urls.c.url == bindparam("url"))


def _end(connection: Connection, delivery: Delivery) -> None:
    """End every other pending delivery to a URL that said 410, and owe it nothing new."""
    ended = upsert(connection, ended_urls, column="at")
    connection.execute(ended, {"url": delivery.url, "at": delivery.finished_at})
    connection.execute(
        update(deliveries)
        .where(deliveries.c.url == delivery.url, IS_PENDING)
        .values(
            status=DeliveryStatus.ENDED.value,
            due_at=None,
            finished_at=delivery.finished_at,
            lease_token=None,
            lease_until=None,
        )
    )


def _attempt_columns(delivery_id: str, attempt: DeliveryAttempt) -> dict[str, Any]:
    return {
        "delivery_id": delivery_id,
        "number": attempt.number,
        "at": attempt.at,
        "duration_us": attempt.duration // timedelta(microseconds=1),
        "response_status": attempt.response_status,
        "error": attempt.error,
        "answer": attempt.answer,
    }


def _read(connection: Connection, condition: ColumnElement[bool]) -> list[Delivery]:
    rows = connection.execute(
        select(
            deliveries,
            events.c.id.label("event_id"),
            events.c.type.label("event_type"),
            events.c.at.label("event_at"),
            events.c.data.label("event_data"),
            events.c.traceparent.label("event_traceparent"),
        )
        .join(events, events.c.number == deliveries.c.event_number)
        .where(condition)
        .order_by(deliveries.c.number)
    )
    return [_delivery(row) for row in rows]


def _delivery(row: Row[Any]) -> Delivery:
    event = Event(
        id=row.event_id,
        type=EventType(row.event_type),
        instance_id=row.instance_id,
        at=row.event_at,
        data=json.loads(row.event_data),
        number=row.event_number,
        traceparent=row.event_traceparent,
    )
    return Delivery(
        id=row.id,
        event=event,
        url=row.url,
        is_trusted=row.is_trusted,
        lane=row.lane,
        status=DeliveryStatus(row.status),
        created_at=row.created_at,
        due_at=row.due_at,
        finished_at=row.finished_at,
        attempts=row.attempts,
        allowed_attempts=row.allowed_attempts,
    )
