"""Deliveries of events to URLs, and what comes of an attempt: done, try again later, or no more."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from gpukeeper.domain.backoff import exponential_delay
from gpukeeper.domain.events import Event


class DeliveryStatus(StrEnum):
    """Where a delivery is: ``ended`` means that the receiver said 410 Gone."""

    PENDING = "pending"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"
    ENDED = "ended"


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
class RetryPolicy:
    """How failed deliveries are tried again: ``first`` before the first retry, then doubled.

    Doubling ends at ``ceiling``; a longer ``first`` stays what it is.
    """

    first: timedelta = timedelta(seconds=2)
    ceiling: timedelta = timedelta(hours=1)


def record_attempt(
    delivery: Delivery,
    *,
    is_delivered: bool,
    is_gone: bool,
    retry_after: timedelta | None,
    now: datetime,
    policy: RetryPolicy,
    random: float,
) -> Delivery:
    """Return the delivery after one more attempt; ``random`` in [0, 1) spreads the next one.

    A receiver's Retry-After is honoured between once and twice our own delay, so that it can
    neither hammer itself nor put us off for ever.
    """
    tried = replace(delivery, attempts=delivery.attempts + 1)
    if is_delivered:
        return _finished(tried, DeliveryStatus.DELIVERED, now)
    if is_gone:
        return _finished(tried, DeliveryStatus.ENDED, now)
    if tried.attempts >= tried.allowed_attempts:
        return _finished(tried, DeliveryStatus.EXHAUSTED, now)
    ceiling = max(policy.first, policy.ceiling)
    delay = exponential_delay(tried.attempts, first=policy.first, ceiling=ceiling, random=random)
    if retry_after is not None:
        delay = min(max(delay, retry_after), 2 * delay)
    return replace(tried, due_at=now + delay)


def _finished(delivery: Delivery, status: DeliveryStatus, now: datetime) -> Delivery:
    return replace(delivery, status=status, due_at=None, finished_at=now)
