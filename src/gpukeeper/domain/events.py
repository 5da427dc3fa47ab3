"""What happened, and the duty to tell it.

An event is derived from a change of an instance and from nothing else, so a change that is
stored has its event and a change that is not stored has none (:class:`Change`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from gpukeeper.domain.costs import whole_dollars_per_hour
from gpukeeper.domain.instances import Instance, Reason, Status
from gpukeeper.domain.machines import SpotSignal


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
class Change:
    """An instance before and after; ``before`` is None when it has just been ordered."""

    before: Instance | None
    after: Instance
    at: datetime

    @property
    def event_types(self) -> tuple[EventType, ...]:
        """What happened between the two: at most one of each kind."""
        types: list[EventType] = []
        before_ids = set(self.before.duplicate_ids) if self.before else set()
        after_ids = set(self.after.duplicate_ids)
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


def find_error(change: Change, event_type: EventType | None = None) -> Reason | None:
    """Return what went wrong: what Novita refused for good just now, or why it is a bad status.

    The event about a price above the limit has that for an error.
    """
    after = change.after
    if event_type is EventType.PRICE_ABOVE_LIMIT:
        return Reason("price_above_limit", _describe_price_above_limit(after))
    return find_new_refusal(change) or (after.reason if after.status in _ERRORS else None)


def find_new_refusal(change: Change) -> Reason | None:
    """Return what Novita refused for good with this change, and in which words."""
    before, after = change.before, change.after
    refused = after.last_command.refusal if after.last_command else None
    refused_before = before.last_command.refusal if before and before.last_command else None
    return refused if refused_before is None else None


def _describe_price_above_limit(instance: Instance) -> str:
    """Return the sentence about a machine that costs more than its order allows."""
    price, limit = instance.machine.price_per_hour, instance.order.max_price_per_hour
    assert price is not None
    assert limit is not None
    return (
        f"Novita shows a price of {whole_dollars_per_hour(price)} per hour, "
        f"above the order's limit of {whole_dollars_per_hour(limit)}."
    )


def _is_price_changed(before: Instance, after: Instance) -> bool:
    """Whether the same machine has another price, or is above its limit again."""
    was, is_now = before.machine, after.machine
    if was.price_per_hour is None or was.novita_id != is_now.novita_id:
        return False
    is_back_above = after.is_above_limit and not before.is_above_limit
    return was.price_per_hour != is_now.price_per_hour or is_back_above


def _has_another_connection(before: Instance | None, after: Instance) -> bool:
    """Whether what was running is reached in another way; a command that is gone is no way."""
    if before is None or not before.status is after.status is Status.RUNNING:
        return False
    was, is_now = before.machine, after.machine
    has_command = is_now.ssh_command is not None and is_now.ssh_command != was.ssh_command
    return has_command or is_now.endpoints != was.endpoints


def _is_newly_notified(before: Instance | None, after: Instance) -> bool:
    is_over = after.status is Status.RECLAIMED or after.machine.spot_signal is SpotSignal.TERMINATED
    was_notified = before is not None and before.machine.is_reclaim_signalled
    return after.machine.is_reclaim_signalled and not was_notified and not is_over
