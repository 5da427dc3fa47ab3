"""What the use cases return: rows together with how fresh they are, and pages of them."""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from gpukeeper.domain.errors import Fault, InvalidOrder
from gpukeeper.domain.events import Delivery, DeliveryAttempt
from gpukeeper.domain.instance import Instance, Observation
from gpukeeper.store.facts import Looks
from gpukeeper.store.orphans import Orphan


@dataclass(frozen=True, slots=True)
class View:
    """An instance and how fresh it is.

    ``observed_at`` is when Novita was last seen to agree with the row; ``is_stale`` says that
    the last look that should have happened did not succeed.
    """

    instance: Instance
    observed_at: datetime | None
    is_stale: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Some instances, how many there are in all, and where the next page begins."""

    views: tuple[View, ...]
    total: int
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A delivery with its attempts; listings leave the attempts out."""

    delivery: Delivery
    attempts: tuple[DeliveryAttempt, ...] = ()


@dataclass(frozen=True, slots=True)
class OrphanView:
    """A machine at Novita with our mark that the store does not know; prices in USD per hour."""

    novita_id: str
    name: str
    novita_status: str
    product_name: str
    region: str
    price_per_hour: Decimal | None
    created_at: datetime | None
    first_seen_at: datetime
    last_seen_at: datetime


def view(instance: Instance, looks: Looks, now: datetime, *, patience: timedelta | None) -> View:
    """Return the instance with what the last looks say of its freshness.

    ``patience`` is how old a look may be; None when settled machines are not looked at.
    """
    if not instance.is_watched:
        return View(instance, instance.observed_at, is_stale=False)
    observed_at = instance.observed_at
    if looks.seen_at is not None and _agrees(instance, looks.seen_at):
        observed_at = max(observed_at or looks.seen_at, looks.seen_at)
    known_at = observed_at or instance.accepted_at or instance.created_at
    is_late = patience is not None and now - known_at > patience
    # A refresh may have seen the machine since the last look failed.
    has_failed = looks.error is not None and (looks.tried_at is None or known_at <= looks.tried_at)
    return View(instance, observed_at, is_stale=has_failed or is_late)


def orphan_view(orphan: Orphan) -> OrphanView:
    """Return an orphan as it is shown."""
    machine: Observation = orphan.machine
    return OrphanView(
        novita_id=machine.novita_id,
        name=machine.name,
        novita_status=machine.word,
        product_name=machine.product_name,
        region=machine.cluster_name or machine.cluster_id,
        price_per_hour=machine.price_per_hour,
        created_at=machine.created_at,
        first_seen_at=orphan.first_seen_at,
        last_seen_at=orphan.last_seen_at,
    )


def encode_cursor(number: int | None) -> str | None:
    """Return the opaque text for where a page ended."""
    if number is None:
        return None
    return base64.urlsafe_b64encode(str(number).encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> int | None:
    """Return where a page ended.  Raises InvalidOrder for a text that is not a cursor."""
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        number = int(base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        fault = Fault("cursor", "is not a cursor that this service has given")
        raise InvalidOrder(faults=[fault]) from error
    if not 0 < number < 2**62:
        raise InvalidOrder(faults=[Fault("cursor", "is not a cursor that this service has given")])
    return number


def _agrees(instance: Instance, seen_at: datetime) -> bool:
    """Whether the last complete listing showed the machine as the row has it."""
    is_doubted = instance.doubts or instance.misses or instance.confirm_at is not None
    return not is_doubted and instance.accepted_at is not None and instance.accepted_at < seen_at
