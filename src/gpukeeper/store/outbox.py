"""The outbox: events and the duties to announce them, stored together with what they tell of."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select

from gpukeeper.domain.events import (
    Change,
    DeliveryStatus,
    Event,
    EventType,
    data_of,
)
from gpukeeper.domain.sharing import receiver_of
from gpukeeper.domain.waking import Wake
from gpukeeper.store import signals
from gpukeeper.store.tables import IS_PENDING, deliveries, ended_urls, events

# Says of a change which work it came of, as its place in a trace.
Origin = Callable[[Change], str | None]


def wish_of(change: Change) -> str | None:
    """Return the place of what the owner asked for last."""
    return change.after.traceparent


@dataclass(frozen=True, slots=True)
class Outbox:
    """Who is told of every event, and how often a delivery is tried.

    ``operator_urls`` are trusted; ``new_id`` makes an id from a prefix and a time.
    """

    operator_urls: tuple[str, ...]
    retries: int
    new_id: Callable[[str, datetime], str]

    def record(self, connection: Connection, change: Change, origin: Origin = wish_of) -> None:
        """Store the events of a change and one delivery per event and URL."""
        types = change.event_types
        if not types:
            return
        data = data_of(change)
        place = origin(change)
        for event_type in types:
            event = self._store(connection, event_type, change.after.id, change.at, data, place)
            if event.is_announced:
                self._owe(connection, event, self._receivers(change))

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
        event = self._store(connection, EventType.TEST, None, now, data, traceparent)
        signals.tell(connection, (Wake.EVENTS, Wake.DELIVER))
        return [self._insert(connection, event, url, is_trusted) for url, is_trusted in urls]

    def _receivers(self, change: Change) -> list[tuple[str, bool]]:
        urls = dict.fromkeys(self.operator_urls, True)
        own = change.after.order.webhook_url
        if own:
            urls.setdefault(own, False)
        return list(urls.items())

    def _store(
        self,
        connection: Connection,
        event_type: EventType,
        instance_id: str | None,
        at: datetime,
        data: dict[str, Any],
        traceparent: str | None,
    ) -> Event:
        signals.queue_up_events(connection)
        event_id = self.new_id("evt", at)
        values = {
            "id": event_id,
            "type": event_type.value,
            "instance_id": instance_id,
            "at": at,
            "data": json.dumps(data, separators=(",", ":")),
            "traceparent": traceparent,
        }
        number = connection.execute(insert(events), values).inserted_primary_key
        assert number is not None
        return Event(event_id, event_type, instance_id, at, data, number[0], traceparent)

    def _owe(
        self, connection: Connection, event: Event, receivers: Sequence[tuple[str, bool]]
    ) -> None:
        if not receivers:
            return
        urls = [url for url, _ in receivers]
        ended = set(connection.scalars(_ENDED, {"urls": urls}))
        for url, is_trusted in receivers:
            if url not in ended:
                self._insert(connection, event, url, is_trusted)

    def _insert(self, connection: Connection, event: Event, url: str, is_trusted: bool) -> str:
        delivery_id = self.new_id("dlv", event.at)
        lane = _lane(url, event)
        waits = connection.scalar(_PENDING_IN_LANE, {"lane": lane})
        values = {
            "id": delivery_id,
            "event_number": event.number,
            "instance_id": event.instance_id,
            "url": url,
            "receiver": receiver_of(url),
            "is_trusted": is_trusted,
            "lane": lane,
            "status": DeliveryStatus.PENDING.value,
            "attempts": 0,
            "allowed_attempts": 1 + self.retries,
            "created_at": event.at,
            # Whatever is before it in its lane makes it due when that is done.
            "due_at": event.at if waits is None else None,
        }
        connection.execute(insert(deliveries), values)
        return delivery_id


# Built once: building a statement takes longer than SQLite takes to run it.
_PENDING_IN_LANE = (
    select(deliveries.c.number)
    .where(deliveries.c.lane == bindparam("lane"), IS_PENDING)
    .limit(1)
    # Whoever finishes that one lets the next go: either before this, or when it sees the next.
    .with_for_update()
)
_ENDED = select(ended_urls.c.url).where(ended_urls.c.url.in_(bindparam("urls", expanding=True)))


def _lane(url: str, event: Event) -> str:
    """Return what keeps its order: one URL's deliveries of one instance; a test stands alone."""
    about = event.instance_id or event.id
    return hashlib.blake2b(f"{url} {about}".encode(), digest_size=24).hexdigest()
