"""The bodies about deliveries of webhooks."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from gpukeeper.contract.serialization import AlwaysSent, Body, OneOf, Time
from gpukeeper.domain import deliveries as domain
from gpukeeper.domain.events import EventType


@dataclass(frozen=True, kw_only=True)
class DeliveryAttempt(Body):
    """One try to deliver: what the receiver answered, or what went wrong."""

    number: int = 0
    at: AlwaysSent[Time] = None
    duration_ms: AlwaysSent[int] = None
    response_status: int | None = None
    error: str | None = None
    answer: str = ""
    """The beginning of the receiver's answer, 1 kB."""

    @property
    def duration(self) -> timedelta | None:
        """Return how long it took."""
        return None if self.duration_ms is None else timedelta(milliseconds=self.duration_ms)


@dataclass(frozen=True, kw_only=True)
class Delivery(Body):
    """The duty to tell one URL of one event."""

    id: str
    event_id: str = ""
    event_type: Annotated[str, OneOf(EventType)] = ""
    instance_id: str | None = None
    url: str = ""
    status: Annotated[str, OneOf(domain.DeliveryStatus)]
    attempt_count: int = 0
    attempts: tuple[DeliveryAttempt, ...] = ()
    """Listings leave them out: the list is empty."""
    created_at: AlwaysSent[Time] = None
    next_attempt_at: Time | None = None
    finished_at: Time | None = None


@dataclass(frozen=True)
class DeliveryList(Body):
    """A page of deliveries, newest first."""

    deliveries: tuple[Delivery, ...]
    next_cursor: str | None
    """Asks for the next page."""


@dataclass(frozen=True)
class TestDeliveries(Body):
    """The deliveries of a test event, one per URL."""

    deliveries: tuple[Delivery, ...]


def describe_delivery(
    delivery: domain.Delivery, attempts: Iterable[domain.DeliveryAttempt] = ()
) -> Delivery:
    """Return a delivery as clients see it."""
    return Delivery(
        id=delivery.id,
        event_id=delivery.event.id,
        event_type=delivery.event.type,
        instance_id=delivery.event.instance_id,
        url=delivery.url,
        status=delivery.status,
        attempt_count=delivery.attempts,
        attempts=tuple(map(_describe_attempt, attempts)),
        created_at=delivery.created_at,
        next_attempt_at=delivery.due_at,
        finished_at=delivery.finished_at,
    )


def _describe_attempt(attempt: domain.DeliveryAttempt) -> DeliveryAttempt:
    return DeliveryAttempt(
        number=attempt.number,
        at=attempt.at,
        duration_ms=round(attempt.duration.total_seconds() * 1000),
        response_status=attempt.response_status,
        error=attempt.error,
        answer=attempt.answer,
    )
