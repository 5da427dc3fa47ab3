"""What comes of an attempt to deliver: done, try again later, or no more."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gpukeeper.domain.backoff import exponential_delay
from gpukeeper.domain.events import Delivery, DeliveryStatus


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
