"""The whole simulated Novita: its machines, market and account."""

import secrets
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random

from gpukeeper.simulator.billing import Account, Bill, compute_bill
from gpukeeper.simulator.machines import machine_life
from gpukeeper.simulator.machines.machine import Gpu, Machine, Moment
from gpukeeper.simulator.machines.scripted_fates import FateQueue
from gpukeeper.simulator.market import sample_catalogue
from gpukeeper.simulator.market.price_changes import Prices, apply_price_change
from gpukeeper.simulator.market.product_stock import Product, Stock, compute_stock
from gpukeeper.simulator.novita_api.fault_rules import FaultBook
from gpukeeper.simulator.novita_api.known_refusals import not_found
from gpukeeper.simulator.novita_api.list_query import ListQuery, compute_row_range, find_matching
from gpukeeper.simulator.novita_api.request_journal import RequestJournal
from gpukeeper.simulator.simulated_clock import SimulatedClock, utc_now
from gpukeeper.simulator.simulator_settings import Settings


@dataclass(frozen=True, slots=True)
class MachineView:
    """A machine as one response shows it."""

    machine: Machine
    moment: Moment


class World:
    """Everything that the simulator knows; all verbs take effect at the clock's time.

    The server works on it in its own thread: another thread holds ``lock`` while it touches it.
    """

    def __init__(
        self, settings: Settings | None = None, *, wall: Callable[[], datetime] = utc_now
    ) -> None:
        self.lock = threading.RLock()
        self._wall = wall
        self.reset(settings or Settings())

    def reset(self, settings: Settings) -> None:
        """Begin anew: no machines, no faults, the catalogue as delivered."""
        self.settings = settings
        # Not drawn: what is drawn stays the same for the same seed.
        self.name = secrets.token_hex(8)
        self.clock = SimulatedClock(
            self._wall,
            start=datetime.fromisoformat(settings.clock_start) if settings.clock_start else None,
            speed=settings.clock_speed,
            is_manual=settings.clock == "manual",
        )
        self.rng = Random(settings.seed)  # noqa: S311  # reproducible draws are the point
        self.machines: dict[str, Machine] = {}
        self.clusters = {item.id: item for item in sample_catalogue.CLUSTERS}
        self.products = {item.id: item for item in sample_catalogue.PRODUCTS}
        self.templates = {item.id: item for item in sample_catalogue.TEMPLATES}
        self.credentials = {item.id: item for item in sample_catalogue.CREDENTIALS}
        self.account = Account(Decimal(str(settings.balance_usd)))
        self.fates = FateQueue()
        self.faults = FaultBook()
        self.journal = RequestJournal()
        self.prices = Prices()
        self.stale_once: set[str] = set()
        self._by_offer: dict[tuple[str, str], list[str]] = defaultdict(list)

    def now(self) -> datetime:
        """Return the simulated time."""
        return self.clock.now()

    def seconds(self, phase: str) -> float:
        """Draw how long a phase lasts."""
        return self.rng.uniform(*self.settings.phase_seconds[phase])

    def happens(self, probability: float) -> bool:
        """Draw whether something of this probability happens."""
        return probability > 0 and self.rng.random() < probability

    def new_id(self) -> str:
        """Return an unused id of 16 hexadecimal digits (Novita API notes §1)."""
        return f"{self.rng.getrandbits(64):016x}"

    def add(self, machine: Machine) -> None:
        """Take in a new machine."""
        self.machines[machine.id] = machine
        self._by_offer[machine.order.product_id, machine.cluster_id].append(machine.id)
        self.account.add_rate(machine, self.settings)

    def settle(self) -> None:
        """Let prices move, and freeze what is billed once the balance is used up."""
        now = self.now()
        for change in self.prices.take_due():
            self.products[change.product_id] = apply_price_change(
                self.products[change.product_id], change
            )
        if self.settings.machine_price == "market":
            for machine in list(self.machines.values()):
                self.reprice(machine.id)
        if not self.is_out_of_money():
            return
        for machine in list(self.machines.values()):
            moment = machine.at(now)
            if moment is not None and moment.gpu is Gpu.BILLED:
                self.machines[machine.id] = machine_life.freeze(machine, now, self.seconds)

    def price(self, product: Product, *, is_spot: bool) -> int:
        """Return what a product costs now, in 1e-5 USD per GPU and hour."""
        return self.prices.current_price(
            product, is_spot=is_spot, at=self.now(), settings=self.settings
        )

    def reprice(self, machine_id: str) -> None:
        """Let a machine cost what the market asks for its product now."""
        machine = self.machines[machine_id]
        product = self.products.get(machine.order.product_id)
        if product is not None:
            price = self.price(product, is_spot=machine.order.billing_mode == "spot")
            self.machines[machine_id] = machine.with_price(price, self.now())

    def is_out_of_money(self) -> bool:
        """Say whether the settled balance is used up."""
        return self.account.is_used_up(self.machines.values(), self.now(), self.settings)

    def balance(self) -> Decimal:
        """Return the settled balance in US dollars."""
        return self.account.available(self.machines.values(), self.now(), self.settings)

    def set_balance(self, usd: Decimal) -> None:
        """Make ``usd`` available."""
        self.account.set_available(usd, self.machines.values(), self.now(), self.settings)

    def get(self, machine_id: str) -> MachineView:
        """Return a machine as get shows it; raise :class:`Refusal` not found."""
        sight = self.find(machine_id)
        return MachineView(sight.machine, self._as_shown(sight.moment))

    def find(self, machine_id: str) -> MachineView:
        """Return a machine that can be named by its id; raise :class:`Refusal` not found."""
        now = self.now()
        machine = self.machines.get(machine_id)
        moment = None if machine is None else machine.at(now)
        lag = timedelta(seconds=self.settings.get_lag_seconds)
        if machine is None or moment is None or machine.created_at > now - lag:
            raise not_found(self.settings.not_found)
        if moment.status == "removed" and not self.settings.removed_in_get:
            raise not_found(self.settings.not_found)
        return MachineView(machine, moment)

    def list_page(self, query: ListQuery, *, shift: int = 0) -> tuple[list[MachineView], int]:
        """Return one page of the list, newest first, and the number of all matching rows.

        ``shift`` moves the rows as if so many before the page had gone in the meantime.
        """
        now = self.now()
        at = now - timedelta(seconds=self.settings.list_behind_seconds)
        found = find_matching(
            reversed(self.machines.values()),
            {item.id: item.name for item in self.products.values()},
            query=query,
            at=at,
            now=now,
            settings=self.settings,
        )
        first, end = compute_row_range(query, self.settings)
        moved = shift if first > 0 else 0
        page = found[first + moved : end + moved]
        return [self._listed(machine, at) for machine in page], len(found)

    def held_gpus(self, at: datetime, *, offer: tuple[str, str] | None = None) -> int:
        """Return how many GPUs are held at ``at``: of one product in one cluster, or in all."""
        ids = self.machines if offer is None else self._by_offer[offer]
        held = 0
        for machine_id in ids:
            machine = self.machines.get(machine_id)
            moment = None if machine is None else machine.at(at)
            if machine is not None and moment is not None and moment.gpu is not Gpu.FREE:
                held += machine.order.gpu_num
        return held

    def stock(self, product: Product, cluster_id: str, *, seconds_ago: float = 0) -> Stock:
        """Return the true stock of one product in one cluster, now or so long ago."""
        at = self.now() - timedelta(seconds=seconds_ago)
        # Plenty needs no counting, which keeps ten thousand orders of one product cheap.
        is_finite = product.stock.get(cluster_id, 0) is not None
        held = self.held_gpus(at, offer=(product.id, cluster_id)) if is_finite else 0
        return compute_stock(product, cluster_id, held=held, at=at, settings=self.settings)

    def bills(self) -> list[Bill]:
        """Return the ledger: the bill of every machine that ever was."""
        now = self.now()
        disk_usd = self.settings.disk_usd_per_gb_day
        # Taken at once: a test may ask from another thread than the one that sells.
        return [compute_bill(machine, now, disk_usd) for machine in list(self.machines.values())]

    def _listed(self, machine: Machine, at: datetime) -> MachineView:
        moment = machine.at(at)
        if machine.id in self.stale_once:
            self.stale_once.discard(machine.id)
            moment = machine.before(at)
        assert moment is not None, "only machines that can be seen are listed"
        return MachineView(machine, self._as_shown(moment))

    def _as_shown(self, moment: Moment) -> Moment:
        if self.happens(self.settings.odd_status_probability):
            return replace(moment, status=self.settings.odd_status)
        return moment
