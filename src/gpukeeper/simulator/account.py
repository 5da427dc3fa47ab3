"""The account's money: what was paid in, what is left, and whether it is used up."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from gpukeeper.simulator.machines.machine import Machine
from gpukeeper.simulator.machines.machine_bills import bill, highest_rate
from gpukeeper.simulator.simulator_settings import Settings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
        return self._paid_in - sum(bill(machine, settled_at, disk_usd).usd for machine in machines)

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


def _settled_at(now: datetime, every_seconds: float) -> datetime:
    """Return when the balance was last settled."""
    if every_seconds <= 0:
        return now
    return now - (now - _EPOCH) % timedelta(seconds=every_seconds)
