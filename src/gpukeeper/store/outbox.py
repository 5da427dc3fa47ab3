"""The outbox: events and the duties to announce them, stored together with what they tell of."""

import hashlib
import json
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select

from gpukeeper.contract.events import describe_change
from gpukeeper.domain.deliveries import DeliveryStatus
from gpukeeper.domain.events import Change, Event, EventType
from gpukeeper.domain.fairness import receiver_of
from gpukeeper.domain.instances import Instance
from gpukeeper.domain.wakeups import LoopName
from gpukeeper.store.db import notify
from gpukeeper.store.db.chunks import chunks
from gpukeeper.store.tables import IS_PENDING, deliveries, ended_urls, events

# Says of a change which work it came of, as its place in a trace.
Origin = Callable[[Change], str | None]


def command_trace(change: Change) -> str | None:
    """Return the place of what the owner asked for last."""
    return change.after.traceparent


@dataclass(frozen=True, slots=True)
class _Owed:
    """One URL that is to be told of one event; a trusted one is the operator's."""

    event: Event
    url: str
    is_trusted: bool


@dataclass(frozen=True, slots=True)
class Outbox:
    """Who is told of every event, and how often a delivery is tried.

    ``operator_urls`` are trusted; ``new_id`` makes an id from a prefix and a time.
    """

    operator_urls: tuple[str, ...]
    retries: int
    new_id: Callable[[str, datetime], str]

    def record_all(
        self, connection: Connection, changes: Sequence[Change], origin: Origin = command_trace
    ) -> None:
        """Store the events of changes, in this order, and one delivery per event and URL."""
        happened = [event for change in changes for event in self._events_of(change, origin)]
        if not happened:
            return
        receivers = {change.after.id: self._receivers(change.after) for change in changes}
        owed = [
            _Owed(event, url, is_trusted)
            for event in _store(connection, happened)
            if event.is_announced
            for url, is_trusted in receivers[event.instance_id or ""]
        ]
        ended = _ended_among(connection, {each.url for each in owed})
        self._owe(connection, [each for each in owed if each.url not in ended])

    def record_test(
        self,
        connection: Connection,
        urls: Sequence[tuple[str, bool]],
        now: datetime,
        *,
        traceparent: str | None = None,
    ) -> list[str]:
        """Store a test event for these URLs (each with whether it is trusted); return delivery ids.

        A URL that said 410 gets it too: this is how it is taken up again.
        """
        data = {"message": "This is a test event of gpukeeper."}
        happened = Event(
            self.new_id("evt", now), EventType.TEST, None, now, data, traceparent=traceparent
        )
        (event,) = _store(connection, [happened])
        notify.notify(connection, (LoopName.EVENTS, LoopName.DELIVER))
        return self._owe(connection, [_Owed(event, url, is_trusted) for url, is_trusted in urls])

    def _events_of(self, change: Change, origin: Origin) -> list[Event]:
        types = change.event_types
        if not types:
            return []
        place = origin(change)
        return [
            Event(
                self.new_id("evt", change.at),
                event_type,
                change.after.id,
                change.at,
                describe_change(change, event_type),
                traceparent=place,
            )
            for event_type in types
        ]

    def _receivers(self, instance: Instance) -> list[tuple[str, bool]]:
        urls = dict.fromkeys(self.operator_urls, True)
        own = instance.order.webhook_url
        if own:
            urls.setdefault(own, False)
        return list(urls.items())

    def _owe(self, connection: Connection, owed: Sequence[_Owed]) -> list[str]:
        """Store deliveries, in this order, and return their ids."""
        lanes = [_lane(each.url, each.event) for each in owed]
        waits = _pending_among(connection, set(lanes))
        rows: list[dict[str, Any]] = []
        for each, lane in zip(owed, lanes, strict=True):
            at = each.event.at
            rows.append(
                {
                    "id": self.new_id("dlv", at),
                    "event_number": each.event.number,
                    "instance_id": each.event.instance_id,
                    "url": each.url,
                    "receiver": receiver_of(each.url),
                    "is_trusted": each.is_trusted,
                    "lane": lane,
                    "status": DeliveryStatus.PENDING.value,
                    "attempts": 0,
                    "allowed_attempts": 1 + self.retries,
                    "created_at": at,
                    # Whatever is before it in its lane makes it due when that is done.
                    "due_at": None if lane in waits else at,
                }
            )
            waits.add(lane)
        if rows:
            connection.execute(_INSERT_DELIVERIES, rows)
        return [row["id"] for row in rows]


# Built once: building a statement takes longer than SQLite takes to run it.
_INSERT_EVENTS = insert(events).returning(events.c.number, sort_by_parameter_order=True)
_INSERT_DELIVERIES = insert(deliveries)
_PENDING = (
    select(deliveries.c.lane)
    .where(deliveries.c.lane.in_(bindparam("lanes", expanding=True)), IS_PENDING)
    # In the order in which everybody locks several rows.
    .order_by(deliveries.c.id)
    # Whoever finishes one of them lets the next go: either before this, or when it sees the next.
    .with_for_update()
)
_ENDED = select(ended_urls.c.url).where(ended_urls.c.url.in_(bindparam("urls", expanding=True)))


def _store(connection: Connection, happened: Sequence[Event]) -> list[Event]:
    """Store events, in this order, and return them with their numbers."""
    notify.lock_event_numbers(connection)
    rows = [
        {
            "id": event.id,
            "type": event.type.value,
            "instance_id": event.instance_id,
            "at": event.at,
            "data": json.dumps(event.data, separators=(",", ":")),
            "traceparent": event.traceparent,
        }
        for event in happened
    ]
    numbers = connection.scalars(_INSERT_EVENTS, rows).all()
    return [replace(event, number=number) for event, number in zip(happened, numbers, strict=True)]


def _ended_among(connection: Connection, urls: Set[str]) -> set[str]:
    """Return which of these URLs said that they want nothing more."""
    return {
        url for some in chunks(sorted(urls)) for url in connection.scalars(_ENDED, {"urls": some})
    }


def _pending_among(connection: Connection, lanes: Set[str]) -> set[str]:
    """Return in which of these lanes a delivery is pending, and hold what is until it is said."""
    return {
        lane
        for some in chunks(sorted(lanes))
        for lane in connection.scalars(_PENDING, {"lanes": some})
    }


def _lane(url: str, event: Event) -> str:
    """Return what keeps its order: one URL's deliveries of one instance; a test stands alone."""
    about = event.instance_id or event.id
    return hashlib.blake2b(f"{url} {about}".encode(), digest_size=24).hexdigest()
