"""What instances went through, read from the event table without the bodies of the events."""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, select

from gpukeeper.domain import ids
from gpukeeper.domain.events import STATUS_OF_TYPE, EventType
from gpukeeper.domain.instances import Status
from gpukeeper.domain.status_timeline import Timeline
from gpukeeper.store.tables import events, instances

StatusTimes = tuple[tuple[Status, datetime], ...]
PriceTimes = tuple[tuple[datetime, Decimal], ...]

_PRICE_EVENTS = (EventType.PRICE_CHANGED.value, EventType.PRICE_ABOVE_LIMIT.value)

# SQLite takes at most 32,766 parameters in one statement; a fleet may have more instances.
_IDS_PER_STATEMENT = 1_000


def find_statuses(connection: Connection, instance_ids: Sequence[str]) -> dict[str, StatusTimes]:
    """Return the statuses that these instances entered, and when, oldest first."""
    found: dict[str, list[tuple[Status, datetime]]] = defaultdict(list)
    for some in _portions(instance_ids):
        rows = connection.execute(
            select(events.c.instance_id, events.c.type, events.c.at)
            .where(events.c.instance_id.in_(some))
            .order_by(events.c.number)
        )
        for instance_id, word, at in rows:
            status = STATUS_OF_TYPE.get(EventType(word))
            if status is not None:
                found[instance_id].append((status, at))
    return {instance_id: tuple(entered) for instance_id, entered in found.items()}


def find_prices(connection: Connection, instance_ids: Sequence[str]) -> dict[str, PriceTimes]:
    """Return which price held from when on, of those instances whose price has changed.

    The first one is that of the purchase.
    """
    found: dict[str, list[tuple[datetime, Decimal]]] = defaultdict(list)
    for some in _portions(instance_ids):
        changed = select(events.c.instance_id).where(
            events.c.instance_id.in_(some), events.c.type.in_(_PRICE_EVENTS)
        )
        rows = connection.execute(
            select(events.c.instance_id, events.c.at, events.c.data)
            .where(
                events.c.instance_id.in_(changed),
                events.c.type.in_((EventType.CREATED.value, *_PRICE_EVENTS)),
            )
            .order_by(events.c.number)
        )
        for instance_id, at, data in rows:
            price = json.loads(data)["instance"]["pricePerHour"]
            if price is not None:
                found[instance_id].append((at, Decimal(price)))
    return {instance_id: tuple(prices) for instance_id, prices in found.items()}


def list_since(connection: Connection, at: datetime) -> list[Timeline]:
    """Return the lives that may have been billed since then: changed since, or not gone yet."""
    changed = select(events.c.instance_id).where(
        # Ids sort by time and have an index.
        events.c.id >= ids.earliest_id("evt", at),
        events.c.instance_id.is_not(None),
    )
    watched = select(instances.c.id).where(
        instances.c.novita_id.is_not(None), instances.c.gone_at.is_(None)
    )
    instance_ids = list(connection.scalars(changed.union(watched)))
    entered = find_statuses(connection, instance_ids)
    prices = find_prices(connection, instance_ids)
    return [
        life
        for some in _portions(instance_ids)
        for life in _lives(connection, some, entered, prices)
    ]


def _lives(
    connection: Connection,
    instance_ids: Sequence[str],
    entered: dict[str, StatusTimes],
    prices: dict[str, PriceTimes],
) -> Iterator[Timeline]:
    rows = connection.execute(
        select(
            instances.c.id,
            instances.c.micro_usd_per_hour,
            instances.c.gone_at,
            instances.c.body,
        ).where(instances.c.id.in_(instance_ids))
    )
    for row in rows:
        body = json.loads(row.body)
        yield Timeline(
            product_name=body["product_name"] or body["order"]["product_name"],
            price_per_hour=_usd(row.micro_usd_per_hour),
            entered=entered.get(row.id, ()),
            gone_at=row.gone_at,
            disk_gb=body["order"]["rootfs_size_gb"],
            gpu_off_at=_time(body.get("gpu_off_at")),
            prices=prices.get(row.id, ()),
        )


def _usd(micro: int | None) -> Decimal | None:
    return None if micro is None else Decimal(micro) / 1_000_000


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _portions(instance_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(instance_ids), _IDS_PER_STATEMENT):
        yield instance_ids[start : start + _IDS_PER_STATEMENT]
