"""What every machine has cost, computed from its life, and what the account has left.

The ledger is the witness against leaks.  GPU time is billed from `pulling` until the machine has
stopped, disk beyond the free quota while the machine exists (Novita API notes §7).
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from gpukeeper.simulator.machines.machine import GONE, Gpu, Machine, Moment
from gpukeeper.simulator.simulator_settings import Settings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Prices are whole numbers of 1e-5 USD, the account's money is in 1e-4 USD (§7).
PRICES_PER_USD = 100_000
BALANCE_PER_USD = 10_000
# 60 GB of container disk are free (§7).
FREE_DISK_GB = 60

_SECONDS_PER_HOUR = 3600
_SECONDS_PER_DAY = 86400
_MICRO_USD = Decimal("0.000001")
_WITHOUT_DISK = frozenset({"removed", GONE})


@dataclass(frozen=True, slots=True)
class Bill:
    """What one machine has cost until now."""

    id: str
    name: str
    status: str
    is_alive: bool
    is_billed_now: bool
    billing_mode: str
    gpu_num: int
    price: int
    sold_at_price: int
    billed_seconds: float
    billed_gpu_seconds: float
    gpu_usd: Decimal
    disk_usd: Decimal
    usd: Decimal


class Account:
    """Money paid in, and how long it lasts at least.

    The exact balance needs the bill of every machine.  So that ten thousand machines cost nothing
    between two looks, the account remembers until when it cannot possibly be used up.
    """

    def __init__(self, paid_in: Decimal) -> None:
        self._paid_in = paid_in
        self._looked_at: datetime | None = None
        self._left = paid_in
        self._rate = Decimal(0)

    def available(self, machines: Iterable[Machine], now: datetime, settings: Settings) -> Decimal:
        """Return the balance in US dollars as of the last settlement; it may be negative."""
        settled_at = _settled_at(now, settings.settle_seconds)
        disk_usd = settings.disk_usd_per_gb_day
        return self._paid_in - sum(
            compute_bill(machine, settled_at, disk_usd).usd for machine in machines
        )

    def set_available(
        self, usd: Decimal, machines: Iterable[Machine], now: datetime, settings: Settings
    ) -> None:
        """Pay in or take out so much that ``usd`` are available."""
        self._paid_in += usd - self.available(machines, now, settings)
        self._looked_at = None

    def add_rate(self, machine: Machine, settings: Settings) -> None:
        """Take a new machine into the reckoning."""
        self._rate += highest_rate(machine, settings.disk_usd_per_gb_day)

    def is_used_up(self, machines: Collection[Machine], now: datetime, settings: Settings) -> bool:
        """Say whether nothing is left; look at every machine only when that is possible."""
        settled_at = _settled_at(now, settings.settle_seconds)
        if self._looked_at is not None:
            seconds = Decimal(str((settled_at - self._looked_at).total_seconds()))
            if settled_at == self._looked_at or self._left > self._rate * seconds:
                return self._left <= 0
        self._left = self.available(machines, now, settings)
        self._looked_at = settled_at
        disk_usd = settings.disk_usd_per_gb_day
        rates = (highest_rate(item, disk_usd) for item in machines if not item.is_gone(settled_at))
        self._rate = sum(rates, Decimal(0))
        return self._left <= 0


def compute_bill(machine: Machine, now: datetime, disk_usd_per_gb_day: float) -> Bill:
    """Return the bill of ``machine`` as of ``now``."""
    moment = machine.at(now)
    order = machine.order
    seconds = billed_time(machine, now).total_seconds()
    gpu_usd = _gpu_usd(machine, now)
    disk_usd = _disk_usd(machine, now, disk_usd_per_gb_day)
    return Bill(
        id=machine.id,
        name=order.name,
        status=GONE if moment is None else moment.status,
        is_alive=moment is not None,
        is_billed_now=moment is not None and moment.gpu is Gpu.BILLED,
        billing_mode=order.billing_mode,
        gpu_num=order.gpu_num,
        price=machine.price,
        sold_at_price=machine.sold_at_price,
        billed_seconds=seconds,
        billed_gpu_seconds=seconds * order.gpu_num,
        gpu_usd=gpu_usd,
        disk_usd=disk_usd,
        usd=gpu_usd + disk_usd,
    )


def billed_time(machine: Machine, until: datetime) -> timedelta:
    """Return for how long the machine has been billed by ``until``."""
    return _time_while(machine, until, lambda moment: moment.gpu is Gpu.BILLED)


def highest_rate(machine: Machine, disk_usd_per_gb_day: float) -> Decimal:
    """Return the most that the machine can cost per second, in US dollars."""
    return (
        Decimal(machine.price * machine.order.gpu_num) / PRICES_PER_USD / _SECONDS_PER_HOUR
        + _disk_usd_per_day(machine, disk_usd_per_gb_day) / _SECONDS_PER_DAY
    )


def _gpu_usd(machine: Machine, now: datetime) -> Decimal:
    """Return what the GPUs have cost, each second at the price of its time."""
    total, before = Decimal(0), timedelta()
    for ended_at, price in (*machine.earlier, (now, machine.price)):
        billed = billed_time(machine, min(ended_at, now))
        per_hour = Decimal(price * machine.order.gpu_num) / PRICES_PER_USD
        total += per_hour / _SECONDS_PER_HOUR * Decimal(str((billed - before).total_seconds()))
        before = billed
    return total.quantize(_MICRO_USD)


def _disk_usd(machine: Machine, now: datetime, usd_per_gb_day: float) -> Decimal:
    exists = _time_while(machine, now, lambda moment: moment.status not in _WITHOUT_DISK)
    per_second = _disk_usd_per_day(machine, usd_per_gb_day) / _SECONDS_PER_DAY
    return (per_second * Decimal(str(exists.total_seconds()))).quantize(_MICRO_USD)


def _time_while(machine: Machine, until: datetime, counts: Callable[[Moment], bool]) -> timedelta:
    total = timedelta()
    ends = [*(moment.at for moment in machine.moments[1:]), until]
    for moment, end in zip(machine.moments, ends, strict=True):
        if moment.at < until and counts(moment):
            total += min(end, until) - moment.at
    return total


def _disk_usd_per_day(machine: Machine, usd_per_gb_day: float) -> Decimal:
    paid_gb = max(0, machine.order.rootfs_gb - FREE_DISK_GB)
    return paid_gb * Decimal(str(usd_per_gb_day))


def _settled_at(now: datetime, every_seconds: float) -> datetime:
    """Return when the balance was last settled."""
    if every_seconds <= 0:
        return now
    return now - (now - _EPOCH) % timedelta(seconds=every_seconds)
