"""What every machine has cost: billed seconds and US dollars, computed from its life.

The ledger is the witness against leaks.  GPU time is billed from `pulling` until the machine has
stopped, disk beyond the free quota while the machine exists (Novita API notes §7).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from gpukeeper.simulator.machines.machine import GONE, Gpu, Machine, Moment

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


def bill(machine: Machine, now: datetime, disk_usd_per_gb_day: float) -> Bill:
    """Return the bill of ``machine`` as of ``now``."""
    moment = machine.at(now)
    order = machine.order
    seconds = billed_time(machine, now).total_seconds()
    exists = _time_while(machine, now, lambda moment: moment.status not in _WITHOUT_DISK)
    gpu_usd = _gpu_usd(machine, now)
    disk_usd = _spent(
        _disk_usd_per_day(machine, disk_usd_per_gb_day) / _SECONDS_PER_DAY, exists.total_seconds()
    )
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
        _gpu_usd_per_hour(machine) / _SECONDS_PER_HOUR
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


def _spent(usd_per_second: Decimal, seconds: float) -> Decimal:
    return (usd_per_second * Decimal(str(seconds))).quantize(_MICRO_USD)


def _time_while(machine: Machine, until: datetime, counts: Callable[[Moment], bool]) -> timedelta:
    total = timedelta()
    ends = [*(moment.at for moment in machine.moments[1:]), until]
    for moment, end in zip(machine.moments, ends, strict=True):
        if moment.at < until and counts(moment):
            total += min(end, until) - moment.at
    return total


def _gpu_usd_per_hour(machine: Machine) -> Decimal:
    return Decimal(machine.price * machine.order.gpu_num) / PRICES_PER_USD


def _disk_usd_per_day(machine: Machine, usd_per_gb_day: float) -> Decimal:
    paid_gb = max(0, machine.order.rootfs_gb - FREE_DISK_GB)
    return paid_gb * Decimal(str(usd_per_gb_day))
