"""Those who order and change their minds, and those who meddle with machines behind our back."""

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random

from gpukeeper.domain.errors import WrongStatus
from gpukeeper.domain.instances import Command, OnFailure, Order
from gpukeeper.domain.products import BillingMode
from gpukeeper.service import OrderFailed, OrderRefused
from gpukeeper.simulator.machines.interventions import ActionDetails, perform_action
from gpukeeper.simulator.machines.machine import Machine
from gpukeeper.simulator.machines.scripted_fates import Fate
from tests.chaos.outages import fail_for_a_while, hide_the_newest
from tests.chaos.receiver import OWN_HOOK
from tests.chaos.service import Stage
from tests.chaos.timeline import now, pass_time

# What a person or the platform does to a machine, how often among all deeds.
_DEEDS: tuple[tuple[int, str, ActionDetails], ...] = (
    (4, "stop", ActionDetails()),
    (3, "start", ActionDetails()),
    (2, "restart", ActionDetails()),
    (2, "delete", ActionDetails()),
    (2, "exit", ActionDetails()),
    (2, "reclaim", ActionDetails()),
    (2, "reclaim", ActionDetails(notice=False)),
    (1, "reclaim", ActionDetails(vanish=True)),
    (3, "spot-notice", ActionDetails(in_seconds=600)),
    (1, "spot-notice", ActionDetails()),
    (1, "withdraw-notice", ActionDetails()),
    (1, "vanish", ActionDetails()),
    (2, "boot-error", ActionDetails()),
    (6, "stale-once", ActionDetails()),
    (2, "hang-delete", ActionDetails(for_seconds=400)),
)
_SPOT_ONLY = frozenset({"reclaim", "spot-notice", "withdraw-notice"})
_BOOTING = frozenset({"pulling", "starting"})
_FATES: tuple[Fate, ...] = (
    Fate(kind="boot-error"),
    Fate(kind="boot-error", exited=True),
    Fate(kind="pull-forever"),
    Fate(kind="vanish", after_seconds=200),
    Fate(kind="exit", after_seconds=120),
    Fate(kind="reclaim", after_seconds=60),
    Fate(kind="out-of-stock", times=2),
    Fate(kind="quota"),
    Fate(kind="refuse"),
)
# A little above what the cheapest offer usually costs.
_LIMITS = {BillingMode.SPOT: Decimal("0.18"), BillingMode.ON_DEMAND: Decimal("0.36")}
_BLIND_SECONDS = 60.0
_WISHES = (Command.STOP, Command.START, Command.RESTART, Command.DELETE)
_TEMPLATES = ("tpl-basic",) * 18 + ("tpl-private", "tpl-broken")


@dataclass(slots=True)
class Account:
    """What was done to whom, as evidence: ``deeds`` by machine, ``wishes`` by instance.

    ``last_deed_at`` is by machine; ``last_wish`` by instance, with its time.
    """

    deeds: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    wishes: defaultdict[str, set[Command]] = field(default_factory=lambda: defaultdict(set))
    last_deed_at: dict[str, datetime] = field(default_factory=dict)
    last_wish: dict[str, tuple[Command, datetime]] = field(default_factory=dict)
    ordered: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class People:
    """Everybody who does something during a run; ``seconds`` is how long they do it."""

    stage: Stage
    seed: int
    orders: int
    seconds: float
    account: Account = field(default_factory=Account)

    async def act(self) -> None:
        """Order, wish and meddle until the time is over."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.orders):
                group.create_task(self._owner(Random(f"{self.seed} owner {number}"), number))
            group.create_task(self._meddler(Random(f"{self.seed} meddler")))
            group.create_task(self._outages(Random(f"{self.seed} outages")))
            group.create_task(self._blind_spots(Random(f"{self.seed} blind spots")))

    async def _owner(self, random: Random, number: int) -> None:
        """Order one machine, some time, and change one's mind a few times."""
        orders_at = random.uniform(0, 0.9 * self.seconds)
        await pass_time(orders_at)
        if random.random() < 0.15:
            self.stage.world.fates.add(random.choice(_FATES))
        instance_id = await self._order(random, number)
        if instance_id is None:
            return
        self.account.ordered.append(instance_id)
        left = self.seconds - orders_at
        moments = sorted(random.uniform(0, left) for _ in range(random.choice((0, 1, 2, 3, 6))))
        if random.random() < 0.2:
            # An owner who changes their mind at once.
            moments = [random.uniform(0, 5), *moments]
        passed = 0.0
        for moment in sorted(moments):
            await pass_time(max(moment - passed, 0))
            passed = moment
            await self._wish(instance_id, random.choice(_WISHES))

    async def _order(self, random: Random, number: int) -> str | None:
        """Order under a key, and sometimes twice at once: it is one order all the same.

        Every third order has a limit a little above the usual price.  None: it was refused.
        """
        mode = random.choice((BillingMode.SPOT, BillingMode.SPOT, BillingMode.ON_DEMAND))
        order = Order(
            name=f"job-{number}",
            product_name="RTX 4090 24GB",
            template_id=random.choice(_TEMPLATES),
            billing_mode=mode,
            max_price_per_hour=_LIMITS[mode] if number % 3 == 0 else None,
            regions=("US-CA-06",) if random.random() < 0.5 else (),
            webhook_url=OWN_HOOK if random.random() < 0.2 else None,
            on_failure=random.choice((OnFailure.KEEP, OnFailure.KEEP, OnFailure.DELETE)),
            startup_timeout=timedelta(seconds=random.choice((300, 600, 600))),
        )
        times = 2 if random.random() < 0.2 else 1
        answers = await asyncio.gather(*(self._place(order, f"key-{number}") for _ in range(times)))
        # Of two at once one may be refused: prices move between them.
        bought = {answer for answer in answers if answer is not None}
        assert len(bought) <= 1, "one key gave two instances"
        return next(iter(bought), None)

    async def _place(self, order: Order, key: str) -> str | None:
        try:
            view = await self.stage.service.order(order, idempotency_key=key, body_hash=order.name)
        except OrderFailed as failed:
            self.account.counts["orders refused at once"] += 1
            return failed.instance.id
        except OrderRefused:
            self.account.counts["orders that left nothing"] += 1
            return None
        return view.instance.id

    async def _wish(self, instance_id: str, verb: Command) -> None:
        self.account.counts["wishes"] += 1
        try:
            await self.stage.service.want(instance_id, verb)
        except WrongStatus:
            self.account.counts["wishes refused"] += 1
            return
        self.account.wishes[instance_id].add(verb)
        self.account.last_wish[instance_id] = (verb, now())

    async def _meddler(self, random: Random) -> None:
        """Do something to some machine about as often as there are orders."""
        world = self.stage.world
        passed = 0.0
        while True:
            pause = random.expovariate(self.orders / self.seconds)
            passed += pause
            if passed >= self.seconds:
                return
            await pass_time(pause)
            (_, action, details), *_ = random.choices(_DEEDS, [deed[0] for deed in _DEEDS])
            able = [machine for machine in world.machines.values() if self._may(machine, action)]
            if able:
                machine = random.choice(able)
                perform_action(world, machine, action, details)
                self.account.deeds[machine.id].add(action)
                self.account.last_deed_at[machine.id] = now()
                self.account.counts["deeds"] += 1

    def _may(self, machine: Machine, action: str) -> bool:
        """Whether something can happen to a machine as it is."""
        moment = machine.at(self.stage.world.now())
        if moment is None:
            return False
        if action == "boot-error":
            return moment.status in _BOOTING
        return machine.order.billing_mode == "spot" or action not in _SPOT_ONLY

    async def _outages(self, random: Random) -> None:
        """Let Novita be away altogether for minutes, once in every two hours."""
        starts = [
            (hours + random.random()) * 7200 for hours in range(int(self.seconds // 7200) or 1)
        ]
        passed = 0.0
        for start in starts:
            if start < self.seconds:
                await pass_time(start - passed)
                passed = start
                fail_for_a_while(self.stage.world, random.uniform(60, 1200))

    async def _blind_spots(self, random: Random) -> None:
        """Let listings lack the newest machines for a minute, about once in ten minutes."""
        left = self.seconds
        while (pause := random.expovariate(1 / 600)) + _BLIND_SECONDS < left:
            await pass_time(pause)
            hide_the_newest(self.stage.world, random.choice((600, 3600)))
            await pass_time(_BLIND_SECONDS)
            hide_the_newest(self.stage.world, 0)
            left -= pause + _BLIND_SECONDS
