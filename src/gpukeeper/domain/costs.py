"""WHAT COSTS HOW MUCH: what a machine costs now, and what it has cost so far.

Novita bills GPUs by the second from the moment it pulls the image until the machine is stopped,
and the container's disk above the free size for as long as the machine exists, stopped or not
(API notes §7).  We see a status some seconds late: the results here are estimates, never an
invoice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from gpukeeper.domain.instances import Command, Instance, Status
from gpukeeper.domain.machines import Observation, Phase
from gpukeeper.domain.status_timeline import Timeline

# Of a container's disk so much costs nothing, and each GB above it this in a day (API notes §7).
FREE_DISK_GB = 60
DISK_USD_PER_GB_DAY = Decimal("0.005")

# People compare prices per hour by tenths of a cent; programs get all places (format_money).
PRICE_PLACES = 3

_HOURS_A_DAY = 24
_ONE_HOUR = timedelta(hours=1)
_MICROSECOND = timedelta(microseconds=1)
_NOTHING = Decimal(0)

# From the first of these on a machine is billed; `failed` and `deleting` change nothing about it.
_BILLED_FROM = frozenset({Status.CREATING, Status.STARTING, Status.RUNNING})
_BILLED_UNTIL = frozenset({Status.STOPPED, Status.RECLAIMED, Status.DELETED, Status.LOST})
_GONE = frozenset({Status.DELETED, Status.LOST})
_AT_REST = frozenset({Status.STOPPED, Status.RECLAIMED})
# Before the image is pulled nothing is billed, and an exited machine has no GPU.
_WITHOUT_GPU = frozenset({Phase.PREPARING, Phase.DOWN, Phase.GONE})


@dataclass(frozen=True, slots=True)
class Rate:
    """What something costs now, in USD per hour."""

    gpu: Decimal = _NOTHING
    disk: Decimal = _NOTHING

    @property
    def total(self) -> Decimal:
        """Return both together."""
        return self.gpu + self.disk


@dataclass(frozen=True, slots=True)
class Charge:
    """A stretch of time (``until`` None: it goes on) with what each hour of it costs in USD."""

    since: datetime
    until: datetime | None
    usd_per_hour: Decimal


def describe_rate(gpu: Decimal, disk: Decimal) -> str:
    """Return what something costs now, for people: ``GPU no, disk $2.20/day``."""
    on = f"{dollars_per_hour(gpu)}/h" if gpu else "no"
    return f"GPU {on}, disk ${disk * _HOURS_A_DAY:,.2f}/day"


def dollars_per_hour(amount: Decimal | float) -> str:
    """Return a price per hour for people, everywhere with the same precision: ``$0.175``."""
    return f"${amount:,.{PRICE_PLACES}f}"


def whole_dollars_per_hour(amount: Decimal) -> str:
    """Return a price with all its places, and never fewer than others have.

    For prices that are compared with a limit: rounded, the one above it might look the same.
    """
    places = -int(amount.normalize().as_tuple().exponent)
    return f"${amount:,.{max(PRICE_PLACES, places)}f}"


def disk_per_hour(disk_gb: int) -> Decimal:
    """Return the USD per hour of a container's disk of this size."""
    return max(disk_gb - FREE_DISK_GB, 0) * DISK_USD_PER_GB_DAY / _HOURS_A_DAY


def rate_of(instance: Instance) -> Rate:
    """Return what an instance costs now, with the machines that are still to be deleted beside it.

    A machine that was just bought or started, and that no sweep has shown yet, counts as billed.
    """
    price = instance.machine.price_per_hour or _NOTHING
    disk = disk_per_hour(instance.order.rootfs_size_gb)
    beside = len(instance.duplicate_ids)
    with_gpu = beside + (instance.is_watched and _has_gpu(instance))
    return Rate(price * with_gpu, disk * (beside + instance.is_watched))


def rate_of_orphan(machine: Observation) -> Rate:
    """Return what a machine that no row knows costs now, as Novita lists it."""
    price = machine.price_per_hour or _NOTHING
    is_off = machine.phase in _WITHOUT_GPU
    exists = machine.phase is not Phase.GONE
    return Rate(
        _NOTHING if is_off else price,
        disk_per_hour(machine.rootfs_size_gb) if exists else _NOTHING,
    )


def billed_periods(life: Timeline) -> tuple[tuple[datetime, datetime | None], ...]:
    """Return the stretches of time in which the GPUs were billed; None: they still are."""
    stretches: list[tuple[datetime, datetime | None]] = []
    since: datetime | None = None
    for status, at in life.entered:
        if status in _BILLED_FROM:
            since = since or at
        elif status in _BILLED_UNTIL and since is not None:
            stretches.append((since, at))
            since = None
    if since is not None:
        # One that failed and then exited has no status of its own for that.
        ends = [at for at in (life.gpu_off_at, life.gone_at) if at is not None and at >= since]
        stretches.append((since, min(ends, default=None)))
    return tuple(stretches)


def list_charges(life: Timeline) -> tuple[Charge, ...]:
    """Return all that was billed: the GPUs at the prices of their time, and the disk."""
    return (*_gpu_charges(life), *_disk_charges(life))


def cost_so_far(life: Timeline, now: datetime) -> Decimal | None:
    """Return the USD that a machine has cost until now.

    None when nothing was bought, or when nothing is known any more of what it went through.
    """
    if life.price_per_hour is None or not life.entered:
        return None
    hour = _ONE_HOUR // _MICROSECOND
    return sum(
        (
            each.usd_per_hour * (((each.until or now) - each.since) // _MICROSECOND) / hour
            for each in list_charges(life)
        ),
        _NOTHING,
    )


def _has_gpu(instance: Instance) -> bool:
    if instance.status in _AT_REST:
        return False
    if _is_start_accepted(instance):
        return True
    is_off = instance.machine.gpu_off_at is not None
    return not is_off and instance.machine.phase not in _WITHOUT_GPU


def _is_start_accepted(instance: Instance) -> bool:
    """Whether Novita has accepted a start whose effect no sweep has shown yet."""
    asked, seen_at = instance.last_command, instance.watch.observed_at
    if asked is None or asked.verb is not Command.START or not asked.is_acknowledged:
        return False
    return seen_at is None or seen_at <= asked.at


def _gpu_charges(life: Timeline) -> Iterator[Charge]:
    if life.price_per_hour is None:
        return
    for since, until in billed_periods(life):
        turns = [each for each in life.prices if since < each[0] and (not until or each[0] < until)]
        starts = [since, *(at for at, _ in turns)]
        ends = [*starts[1:], until]
        for begins, ends_at in zip(starts, ends, strict=True):
            yield Charge(begins, ends_at, _price_at(life, begins, life.price_per_hour))


def _price_at(life: Timeline, at: datetime, price_now: Decimal) -> Decimal:
    """Return the price then; the first that is known also holds before it was."""
    if not life.prices:
        return price_now
    known = [price for since, price in life.prices if since <= at]
    return known[-1] if known else life.prices[0][1]


def _disk_charges(life: Timeline) -> Iterator[Charge]:
    per_hour = disk_per_hour(life.disk_gb)
    since = next((at for status, at in life.entered if status in _BILLED_FROM), None)
    if since is None or not per_hour:
        return
    last, at = life.entered[-1]
    yield Charge(since, life.gone_at or (at if last in _GONE else None), per_hour)
