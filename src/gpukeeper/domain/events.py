"""What happened, whom it is told, and the JSON body in which it is told.

An event is derived from a change of an instance and from nothing else, so a change that is
stored has its event and a change that is not stored has none (:func:`events_of`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from gpukeeper.domain.costs import rate_of, whole_dollars_per_hour
from gpukeeper.domain.instances import Attempt, Instance, Reason, SpotSignal, Status

Json = dict[str, Any]


class EventType(StrEnum):
    """Every kind of event; those in :data:`ANNOUNCED` are also sent as webhooks."""

    REQUESTED = "instance.requested"
    CREATED = "instance.created"
    STARTING = "instance.starting"
    RUNNING = "instance.running"
    CONNECTION_CHANGED = "instance.connection_changed"
    STOPPING = "instance.stopping"
    STOPPED = "instance.stopped"
    DELETING = "instance.deleting"
    DELETED = "instance.deleted"
    FAILED = "instance.failed"
    RECLAIM_NOTIFIED = "instance.reclaim_notified"
    RECLAIMED = "instance.reclaimed"
    LOST = "instance.lost"
    PRICE_CHANGED = "instance.price_changed"
    PRICE_ABOVE_LIMIT = "instance.price_above_limit"
    SURPLUS_FOUND = "instance.surplus_found"
    SURPLUS_DELETED = "instance.surplus_deleted"
    TEST = "webhook.test"


# The webhook contract (§5). The other types are history only: they show the way, not an outcome.
ANNOUNCED = frozenset(
    {
        EventType.CREATED,
        EventType.RUNNING,
        EventType.CONNECTION_CHANGED,
        EventType.FAILED,
        EventType.STOPPED,
        EventType.DELETED,
        EventType.RECLAIM_NOTIFIED,
        EventType.RECLAIMED,
        EventType.LOST,
        EventType.PRICE_ABOVE_LIMIT,
        EventType.TEST,
    }
)

_TYPE_OF_STATUS = {
    Status.REQUESTED: EventType.REQUESTED,
    Status.CREATING: EventType.CREATED,
    Status.STARTING: EventType.STARTING,
    Status.RUNNING: EventType.RUNNING,
    Status.STOPPING: EventType.STOPPING,
    Status.STOPPED: EventType.STOPPED,
    Status.DELETING: EventType.DELETING,
    Status.DELETED: EventType.DELETED,
    Status.FAILED: EventType.FAILED,
    Status.RECLAIMED: EventType.RECLAIMED,
    Status.LOST: EventType.LOST,
}

STATUS_OF_TYPE = {event_type: status for status, event_type in _TYPE_OF_STATUS.items()}

# Statuses whose reason is an error that the receiver wants to see as one.
_ERRORS = frozenset({Status.FAILED, Status.RECLAIMED, Status.LOST})


class DeliveryStatus(StrEnum):
    """Where a delivery is: ``ended`` means that the receiver said 410 Gone."""

    PENDING = "pending"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; ``data`` is the JSON that webhooks and histories show.

    ``number`` orders all events of a store; it is ``0`` until the event is stored.
    ``traceparent`` is the place in a trace of the work that it came of.
    """

    id: str
    type: EventType
    instance_id: str | None
    at: datetime
    data: Mapping[str, Any]
    number: int = 0
    traceparent: str | None = None

    @property
    def is_announced(self) -> bool:
        """Whether webhooks are sent for it."""
        return self.type in ANNOUNCED


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """One try to deliver: what the receiver answered (first 1 kB), or what went wrong."""

    number: int
    at: datetime
    duration: timedelta
    response_status: int | None
    error: str | None
    answer: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """The duty to tell one URL of one event.

    ``is_trusted`` marks the operator's own URL, whose address is not vetted.  Deliveries of one
    ``lane`` (a URL and an instance) leave one after the other, in the order of their events.
    ``allowed_attempts`` is the number of tries after which it is exhausted.
    """

    id: str
    event: Event
    url: str
    is_trusted: bool
    lane: str
    status: DeliveryStatus
    created_at: datetime
    due_at: datetime | None
    finished_at: datetime | None = None
    attempts: int = 0
    allowed_attempts: int = 1


@dataclass(frozen=True, slots=True)
class Change:
    """An instance before and after; ``before`` is None when it has just been ordered."""

    before: Instance | None
    after: Instance
    at: datetime

    @property
    def event_types(self) -> tuple[EventType, ...]:
        """What happened between the two: at most one of each kind."""
        types: list[EventType] = []
        before_ids = set(self.before.surplus_ids) if self.before else set()
        after_ids = set(self.after.surplus_ids)
        if _is_newly_notified(self.before, self.after):
            types.append(EventType.RECLAIM_NOTIFIED)
        if self.before is None or self.before.status is not self.after.status:
            types.append(_TYPE_OF_STATUS[self.after.status])
        if self.before is not None and _is_price_changed(self.before, self.after):
            crosses = self.after.is_above_limit and not self.before.is_above_limit
            types.append(EventType.PRICE_ABOVE_LIMIT if crosses else EventType.PRICE_CHANGED)
        if _has_another_connection(self.before, self.after):
            types.append(EventType.CONNECTION_CHANGED)
        if after_ids - before_ids:
            types.append(EventType.SURPLUS_FOUND)
        if before_ids - after_ids:
            types.append(EventType.SURPLUS_DELETED)
        return tuple(types)


def data_of(change: Change, event_type: EventType | None = None) -> Json:
    """Return the ``data`` of an event about this change (contract §5), free of secrets."""
    before, after = change.before, change.after
    error = error_of(change)
    if event_type is EventType.PRICE_ABOVE_LIMIT:
        error = Reason("price_above_limit", price_above_limit(after))
    return {
        "instance": instance_body(after),
        "previousStatus": before.status.value if before else None,
        "error": reason_body(error),
    }


def price_above_limit(instance: Instance) -> str:
    """Return the sentence about a machine that costs more than its order allows."""
    price, limit = instance.price_per_hour, instance.order.max_price_per_hour
    assert price is not None
    assert limit is not None
    return (
        f"Novita shows a price of {whole_dollars_per_hour(price)} per hour, "
        f"above the order's limit of {whole_dollars_per_hour(limit)}."
    )


def error_of(change: Change) -> Reason | None:
    """Return what went wrong: what Novita refused for good just now, or why it is a bad status."""
    return refusal_in(change) or (change.after.reason if change.after.status in _ERRORS else None)


def refusal_in(change: Change) -> Reason | None:
    """Return what Novita refused for good with this change, and in which words."""
    before, after = change.before, change.after
    refused = after.asked.refusal if after.asked else None
    refused_before = before.asked.refusal if before and before.asked else None
    return refused if refused_before is None else None


def webhook_body(event: Event) -> Json:
    """Return what is POSTed for an event; the same in every attempt."""
    return {"type": event.type.value, "timestamp": format_time(event.at), "data": dict(event.data)}


def event_body(event: Event) -> Json:
    """Return an event as histories and the live feed show it: the webhook's body and its id."""
    return {"id": event.id, **webhook_body(event)}


def encode(body: Json) -> bytes:
    """Return a body as the bytes that are signed and sent."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def instance_body(
    instance: Instance, *, observed_at: datetime | None = None, is_stale: bool = False
) -> Json:
    """Return the instance as clients see it (contract §4.3), free of secrets.

    ``observed_at`` says when Novita was last seen to agree with the row, where that is later
    than the row's last change.
    """
    order, cost = instance.order, rate_of(instance)
    return {
        "id": instance.id,
        "novitaId": instance.novita_id,
        "name": order.name,
        "status": instance.status.value,
        "reason": reason_body(instance.reason),
        "productName": instance.product_name or order.product_name,
        "productId": instance.product_id,
        "region": instance.region or order.region,
        "clusterId": instance.cluster_id,
        "templateId": order.template_id,
        "imageUrl": instance.image_url,
        "gpuNum": order.gpu_num,
        "rootfsSize": order.rootfs_size_gb,
        "billingMode": order.billing_mode.value,
        "pricePerHour": format_money(instance.price_per_hour),
        "maxPricePerHour": format_money(order.max_price_per_hour),
        "costPerHour": {"gpuUsd": format_rate(cost.gpu), "diskUsd": format_rate(cost.disk)},
        "currency": "USD",
        "labels": dict(order.labels),
        "endpoints": [
            {"port": endpoint.port, "type": endpoint.type, "url": endpoint.url}
            for endpoint in instance.endpoints
        ],
        "sshCommand": instance.ssh_command,
        "createdAt": format_time(instance.created_at),
        "startedAt": format_time(instance.started_at),
        "runningAt": format_time(instance.running_at),
        "deletedAt": format_time(instance.deleted_at),
        "reclaimAt": format_time(instance.reclaim_at),
        "isBilling": instance.may_be_billed,
        "surplusMachines": list(instance.surplus_ids),
        "novitaStatus": instance.novita_status,
        "observedAt": format_time(observed_at or instance.observed_at),
        "stale": is_stale,
        "attempts": attempts_body(instance.attempts),
    }


def attempts_body(attempts: Sequence[Attempt]) -> list[Json]:
    """Return as JSON what was tried, or looked at."""
    return [
        {
            "productId": attempt.product_id,
            "region": attempt.region,
            "pricePerHour": format_money(attempt.price_per_hour),
            "outcome": attempt.outcome,
            "detail": attempt.detail,
            "at": format_time(attempt.at),
        }
        for attempt in attempts
    ]


def reason_body(reason: Reason | None) -> Json | None:
    """Return a reason as JSON."""
    return {"code": reason.code, "message": reason.message} if reason else None


def format_time(at: datetime | None) -> str | None:
    """Return a time as RFC 3339 UTC with milliseconds: ``2026-11-23T05:12:25.123Z``."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def format_money(amount: Decimal | None) -> str | None:
    """Return dollars without trailing zeros or an exponent: ``0.175``."""
    return None if amount is None else f"{amount.normalize():f}"


def format_rate(amount: Decimal) -> str:
    """Return dollars per hour to a millionth: a share of a day's price may never end."""
    return f"{round(amount, 6).normalize():f}"


def _is_price_changed(before: Instance, after: Instance) -> bool:
    """Whether the same machine has another price, or is above its limit again."""
    if before.price_per_hour is None or before.novita_id != after.novita_id:
        return False
    is_back_above = after.is_above_limit and not before.is_above_limit
    return before.price_per_hour != after.price_per_hour or is_back_above


def _has_another_connection(before: Instance | None, after: Instance) -> bool:
    """Whether what was running is reached in another way; a command that is gone is no way."""
    if before is None or not before.status is after.status is Status.RUNNING:
        return False
    has_command = after.ssh_command is not None and after.ssh_command != before.ssh_command
    return has_command or after.endpoints != before.endpoints


def _is_newly_notified(before: Instance | None, after: Instance) -> bool:
    is_over = after.status is Status.RECLAIMED or after.spot_signal is SpotSignal.TERMINATED
    was_notified = before is not None and _is_notified(before)
    return _is_notified(after) and not was_notified and not is_over


def _is_notified(instance: Instance) -> bool:
    """A planned time is a notice, whatever the word beside it says (API notes §8)."""
    return instance.spot_signal is not SpotSignal.NONE or instance.reclaim_at is not None
