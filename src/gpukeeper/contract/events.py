"""The bodies about events; a webhook's is an event without its id (contract §5)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from gpukeeper.contract.instances import describe_instance, describe_reason
from gpukeeper.contract.serialization import AlwaysSent, Body, Json, OneOf, Time, to_dict, to_json
from gpukeeper.domain import events as domain


@dataclass(frozen=True)
class Event(Body):
    """One thing that happened; `data` is what webhooks carry."""

    id: str
    type: Annotated[str, OneOf(domain.EventType)]
    timestamp: AlwaysSent[Time] = None
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class EventList(Body):
    """An instance's history, oldest first."""

    events: tuple[Event, ...]


def describe_event(event: domain.Event) -> Event:
    """Return an event as histories and the live feed show it."""
    return Event(event.id, event.type, event.at, event.data)


def describe_webhook(event: domain.Event) -> Json:
    """Return what is POSTed for an event."""
    return to_dict(describe_event(event), exclude={"id"})


def encode_webhook(event: domain.Event) -> bytes:
    """Return the bytes that are signed and sent for an event; the same in every attempt."""
    return to_json(describe_event(event), exclude={"id"})


def describe_change(change: domain.Change, event_type: domain.EventType | None = None) -> Json:
    """Return the ``data`` of an event about this change, free of secrets."""
    before, after = change.before, change.after
    error = describe_reason(domain.find_error(change, event_type))
    return {
        "instance": to_dict(describe_instance(after)),
        "previousStatus": before.status.value if before else None,
        "error": error and to_dict(error),
    }
