"""One machine as a value: its order, and its whole life as moments in time.

A machine's past and its planned future are one sequence of moments.  What it shows at a time is
the last moment that has begun by then, so time needs nobody to let it pass.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from gpukeeper.simulator.market.create_request import Order

# The inner word for a machine that Novita no longer knows; it is never on the wire.
GONE = "gone"


class Gpu(StrEnum):
    """How a machine uses its GPUs."""

    FREE = "free"
    HELD = "held"
    BILLED = "billed"


@dataclass(frozen=True, slots=True)
class Moment:
    """From ``at`` on the machine is like this, until its next moment begins."""

    at: datetime
    status: str
    gpu: Gpu = Gpu.FREE
    start_no: int = 1
    error_state: str = ""
    error_message: str = ""
    spot_status: str = ""
    reclaim_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reclaim:
    """A planned end of a spot machine; without ``notice_at`` it comes unannounced."""

    at: datetime
    notice_at: datetime | None
    takes: timedelta
    is_time_told: bool = True
    vanishes: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine; ``price`` is 1e-5 USD per GPU and hour now, ``earlier`` those before it.

    Each of these comes with when it ended.
    ``plan`` is its life without the reclaim, ``moments`` is its life with it.
    """

    id: str
    order: Order
    cluster_id: str
    price: int
    plan: tuple[Moment, ...]
    moments: tuple[Moment, ...]
    reclaim: Reclaim | None = None
    hang_delete: timedelta | None = None
    earlier: tuple[tuple[datetime, int], ...] = ()
    replays: int = 0

    @property
    def created_at(self) -> datetime:
        """When it was created."""
        return self.plan[0].at

    @property
    def sold_at_price(self) -> int:
        """The price of its sale."""
        return self.earlier[0][1] if self.earlier else self.price

    def with_price(self, price: int, at: datetime) -> "Machine":
        """Return the machine with another price from a time on."""
        if price == self.price:
            return self
        return replace(self, price=price, earlier=(*self.earlier, (at, self.price)))

    def at(self, when: datetime) -> Moment | None:
        """Return its moment at ``when``; ``None`` before its creation and once it is gone."""
        for moment in reversed(self.moments):
            if moment.at <= when:
                return None if moment.status == GONE else moment
        return None

    def before(self, when: datetime) -> Moment | None:
        """Return its moment before its status last changed."""
        past = [moment for moment in self.moments if moment.at <= when]
        for moment in reversed(past):
            if moment.status != past[-1].status:
                return moment
        return past[-1] if past else None

    def is_gone(self, when: datetime) -> bool:
        """Say whether Novita has forgotten it by ``when``."""
        last = self.moments[-1]
        return last.status == GONE and last.at <= when

    def started_at(self, when: datetime) -> datetime | None:
        """Return when its GPUs were last put to work, as of ``when``."""
        return _last_turn(self.moments, when, to=Gpu.BILLED)

    def stopped_at(self, when: datetime) -> datetime | None:
        """Return when its GPUs were last given back, as of ``when``."""
        return _last_turn(self.moments, when, to=Gpu.FREE)


def apply_reclaim(plan: tuple[Moment, ...], reclaim: Reclaim | None) -> tuple[Moment, ...]:
    """Return the moments of ``plan`` as the reclaim bends them."""
    if reclaim is None:
        return plan
    moments = tuple(moment for moment in plan if moment.at <= reclaim.at)
    if reclaim.notice_at is not None:
        told = reclaim.at if reclaim.is_time_told else None
        moments = change_from(moments, reclaim.notice_at, spot_status="notified", reclaim_at=told)
    last = replace(moments[-1], at=reclaim.at)
    if reclaim.vanishes:
        return (*moments, replace(last, status=GONE, gpu=Gpu.FREE))
    if reclaim.notice_at is None:
        ended = replace(last, status="exited", gpu=Gpu.FREE, spot_status="", reclaim_at=None)
        return (*moments, ended)
    ended = replace(last, status="exited", gpu=Gpu.FREE, spot_status="terminated")
    going = replace(last, spot_status="reclaiming")
    return (*moments, going, replace(ended, at=reclaim.at + reclaim.takes))


def change_from(plan: tuple[Moment, ...], at: datetime, **changes: Any) -> tuple[Moment, ...]:
    """Return ``plan`` with ``changes`` made to everything from ``at`` on."""
    before = tuple(moment for moment in plan if moment.at < at)
    now = tuple(moment for moment in plan if moment.at == at) or before[-1:]
    turn = tuple(replace(moment, at=at, **changes) for moment in now[-1:])
    after = tuple(replace(moment, **changes) for moment in plan if moment.at > at)
    return before + turn + after


def _last_turn(moments: tuple[Moment, ...], when: datetime, *, to: Gpu) -> datetime | None:
    """Return when the GPU use last became ``to``, as of ``when``."""
    found: datetime | None = None
    use: Gpu | None = None
    for moment in moments:
        if moment.at > when:
            break
        if moment.gpu is to and use is not to:
            found = moment.at
        use = moment.gpu
    return found
