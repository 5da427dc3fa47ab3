"""What the use cases return: rows together with how fresh they are, and pages of them."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from gpukeeper.domain.deliveries import Delivery, DeliveryAttempt
from gpukeeper.domain.errors import Fault, InvalidOrder
from gpukeeper.domain.instances import Instance
from gpukeeper.store.facts import SweepState

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class View:
    """An instance and how fresh it is.

    ``observed_at`` is when Novita was last seen to agree with the row; ``is_stale`` says that
    the last look that should have happened did not succeed.  Once ``late_at`` is over, it is stale
    for want of a look.
    """

    instance: Instance
    observed_at: datetime | None
    is_stale: bool
    late_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Page:
    """Some instances, how many there are in all, and where the next page begins."""

    views: tuple[View, ...]
    total: int
    next_cursor: str | None


@dataclass(slots=True)
class CachedPage:
    """Rows as they were read, with how many there are in all, where they end, and the looks."""

    rows: Sequence[Instance]
    total: int
    following: int | None
    looks: SweepState
    _page: Page | None = field(default=None, init=False)
    # Between these times.
    _made_at: datetime = field(default=_NEVER, init=False)
    _holds_until: datetime = field(default=_NEVER, init=False)

    def page(self, now: datetime, *, patience: timedelta | None) -> Page:
        """Return the page: the same as before, unless the time has made one of them stale."""
        if self._page is None or not self._made_at <= now <= self._holds_until:
            views = tuple(build_view(row, self.looks, now, patience=patience) for row in self.rows)
            self._page = Page(views, self.total, encode_cursor(self.following))
            self._made_at = now
            late = (each.late_at for each in views)
            self._holds_until = min(
                (at for at in late if at is not None and at >= now), default=_NEVER
            )
        return self._page


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A delivery with its attempts; listings leave the attempts out."""

    delivery: Delivery
    attempts: tuple[DeliveryAttempt, ...] = ()


def build_view(
    instance: Instance, looks: SweepState, now: datetime, *, patience: timedelta | None
) -> View:
    """Return the instance with what the last looks say of its freshness.

    ``patience`` is how old a look may be; None when settled machines are not looked at.
    """
    if not instance.is_watched:
        return View(instance, instance.watch.observed_at, is_stale=False)
    observed_at = instance.watch.observed_at
    if looks.seen_at is not None and _agrees(instance, looks.seen_at):
        observed_at = max(observed_at or looks.seen_at, looks.seen_at)
    known_at = observed_at or instance.purchase.accepted_at or instance.created_at
    late_at = None if patience is None else known_at + patience
    is_late = late_at is not None and now > late_at
    # A refresh may have seen the machine since the last look failed.
    has_failed = looks.error is not None and (looks.tried_at is None or known_at <= looks.tried_at)
    return View(instance, observed_at, is_stale=has_failed or is_late, late_at=late_at)


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
    watch, accepted_at = instance.watch, instance.purchase.accepted_at
    is_doubted = watch.doubts or watch.misses or watch.confirm_at is not None
    return not is_doubted and accepted_at is not None and accepted_at < seen_at
