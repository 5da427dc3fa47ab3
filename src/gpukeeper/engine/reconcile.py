"""The five lines for an instance: load, observe, decide, perform, apply.

Observing is mostly the sweep's: one listing serves all (:mod:`gpukeeper.engine.sweep`).  What is
left here are the rows that are due: to be bought, looked up, started, confirmed, given up.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gpukeeper.domain import buying, surplus, watching
from gpukeeper.domain.asking import answered
from gpukeeper.domain.backoff import exponential
from gpukeeper.domain.errors import (
    GpuKeeperError,
    LeaseLost,
    NovitaError,
    NovitaNotFound,
    OutOfStock,
)
from gpukeeper.domain.events import Change
from gpukeeper.domain.instance import Instance, Listing, Observation, Phase, Verb
from gpukeeper.domain.lifecycle import (
    Ask,
    Choose,
    Confirm,
    Discard,
    Limits,
    LookUp,
    Move,
    Rest,
    decide,
    is_coming_up,
    schedule,
)
from gpukeeper.domain.market import Offer, Template
from gpukeeper.engine.discard import discard
from gpukeeper.engine.leasing import Leasing
from gpukeeper.engine.loop import Clock, Workers
from gpukeeper.novita.client import NovitaClient
from gpukeeper.novita.market import Market
from gpukeeper.nudges import Nudges
from gpukeeper.store import instances, leases, tables
from gpukeeper.store.database import Connection, Database
from gpukeeper.store.outbox import Outbox
from gpukeeper.store.sealing import Seal
from gpukeeper.telemetry import OFF, Logger, Traces

Fold = Callable[[Instance], Instance]

# The first pause after Novita could not be asked about one machine; doubled each time.
_CONFIRM_AGAIN_AFTER = timedelta(seconds=2)

# What the work is called in traces.
_NAME = {
    instances.Kind.ORDERS: "buy",
    instances.Kind.MACHINES: "reconcile",
    instances.Kind.ALL: "reconcile",
}


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Works on the instances of one kind that are due.

    Orders have workers of their own: purchases that hang must not hold up a stop or a delete,
    which end spending.
    """

    kind: instances.Kind
    database: Database
    novita: NovitaClient
    market: Market
    outbox: Outbox
    seal: Seal
    limits: Limits
    clock: Clock
    random: Callable[[], float]
    new_token: Callable[[], str]
    nudges: Nudges
    workers: Workers
    leasing: Leasing
    on_change: Callable[[Change], None]
    log: Logger
    traces: Traces = OFF

    async def turn(self) -> datetime | None:
        """Claim what is due, start a worker for each, and return when the next row is due."""
        now = self.clock()
        await self.leasing.renew(now)
        room = self.workers.room
        if not room:
            # A finishing worker nudges.
            return None
        lease = self.leasing.lease(self.new_token(), now)
        claimed, next_due_at = await self.database.write(
            lambda connection: (
                instances.claim(
                    connection, now, room, lease, kind=self.kind, on_unreadable=self._unreadable
                ),
                instances.next_due_at(connection, now, kind=self.kind),
            )
        )
        for instance in claimed:
            self.workers.start(self.work(instance, lease.token), instance.id, lease.token)
        return next_due_at

    def _unreadable(self, instance_id: str, error: str) -> None:
        self.log.error("row_unreadable", instance_id=instance_id, error=error)

    async def work(self, instance: Instance, lease_token: str) -> None:
        """Take one leased instance as far as it goes now; give up quietly if the lease is lost."""
        with self.traces.span(
            _NAME[self.kind],
            parent=instance.traceparent,
            attributes={"gpukeeper.instance.id": instance.id},
        ):
            try:
                await self._work(instance, lease_token)
            except LeaseLost:
                self.log.info("lease_lost", instance_id=instance.id)

    async def _work(self, instance: Instance, lease_token: str) -> None:
        while (step := decide(instance, self.clock(), self.limits)) is not None:
            fold = await self._perform(instance, step, lease_token)
            change, is_due = await self._apply(instance.id, fold, lease_token)
            if not is_due:
                return
            instance = change.after

    async def _perform(self, instance: Instance, step: object, lease_token: str) -> Fold:
        match step:
            case Rest():
                return lambda row: row
            case Move() if is_coming_up(instance) and instance.is_watched:
                # The last look may be long ago: ask before giving up what may be running.  Where
                # Novita cannot be asked, the row moves only if a listing has shown it since.
                seen = await self._confirm(instance)
                return lambda row: self._move(seen(row))
            case Move():
                return self._move
            case Choose():
                return await self._choose_and_buy(instance, lease_token)
            case LookUp():
                return await self._look_up(instance)
            case Confirm():
                return await self._confirm(instance)
            case Ask(verb=verb):
                return await self._ask(instance, verb, lease_token)
            case Discard(novita_id=novita_id):
                return await self._discard(instance, novita_id)
        raise AssertionError(f"unknown step {step!r}")

    def _move(self, row: Instance) -> Instance:
        step = decide(row, self.clock(), self.limits)
        return step.instance if isinstance(step, Move) else row

    async def _choose_and_buy(self, instance: Instance, lease_token: str) -> Fold:
        try:
            offers, template = await asyncio.gather(
                self.market.offers(instance.order), self.market.template(instance.order)
            )
        except GpuKeeperError as error:
            failure = error
            return lambda row: buying.not_chosen(row, failure, self.clock(), self.limits)
        offer = buying.untried(instance, offers)
        change, _ = await self._apply(
            instance.id,
            lambda row: buying.chosen(row, offer, template, self.clock()),
            lease_token,
            keep=True,
        )
        if change.after.buying is None or offer is None:
            return lambda row: row
        return await self._buy(change.after, offer, template, lease_token)

    async def _buy(
        self, instance: Instance, offer: Offer, template: Template, lease_token: str
    ) -> Fold:
        # The last moment to find out that another has taken over while we were held up.
        envs = await self.database.read(
            lambda connection: instances.envs_of(
                connection, instance.id, self.seal, lease_token=lease_token
            )
        )
        try:
            novita_id = await self.novita.create(
                buying.purchase(instance, offer, template, envs=envs),
                check=self._check(instance.id, lease_token),
            )
        except NovitaError as error:
            failure = error
            self.log.warning(
                "purchase_refused",
                instance_id=instance.id,
                product_id=offer.product_id,
                region=offer.region,
                code=error.error_code,
                novita_reason=error.reason,
                novita_message=error.message,
            )
            if isinstance(error, OutOfStock):
                self.market.forget()
            return lambda row: buying.not_bought(row, offer, failure, self.clock(), self.limits)
        await self._make_way(novita_id, instance)
        return lambda row: buying.bought(row, offer, novita_id, self.clock())

    async def _make_way(self, novita_id: str, owner: Instance) -> None:
        """Let a row that holds this id give it up: its machine has another name, so it is gone."""
        holder = await self.database.read(lambda c: instances.find(c, novita_id))
        if holder is None or holder.id == owner.id:
            return
        self.log.error(
            "machine_id_reused", instance_id=owner.id, novita_id=novita_id, held_by=holder.id
        )
        now = self.clock()

        def give_up(row: Instance) -> Instance:
            return schedule(buying.give_up_machine(row, novita_id, owner, now), now, self.limits)

        change = await self.database.write(
            lambda c: instances.change(c, holder.id, give_up, now, self.outbox)
        )
        self.nudges.changed([change])
        self.on_change(change)

    async def _look_up(self, instance: Instance) -> Fold:
        try:
            listing = await self.novita.list_all(name=instance.novita_name)
            if not _of_this_name(listing, instance) and _is_last_look(instance, listing):
                # Before anything is bought again the filter is not trusted to find what is there.
                listing = await self._list_the_fleet()
        except NovitaError as error:
            self.log.warning("look_up_failed", instance_id=instance.id, code=error.error_code)
            return lambda row: buying.look_up_later(row, self.clock())
        found = _of_this_name(listing, instance)
        for seen in found:
            await self._make_way(seen.novita_id, instance)
        return lambda row: buying.looked_up(
            row,
            found,
            self.clock(),
            self.limits,
            asked_at=listing.at,
            is_complete=listing.is_complete,
        )

    async def _list_the_fleet(self) -> Listing:
        """List everything; complete only if it shows anything of what exists (§6.3)."""
        rows = await self.database.read(instances.watched)
        listing = await self.novita.list_all()
        known = {row.novita_id for row in rows}
        is_believed = not rows or any(seen.novita_id in known for seen in listing.machines)
        return replace(listing, is_complete=listing.is_complete and is_believed)

    async def _confirm(self, instance: Instance) -> Fold:
        assert instance.novita_id is not None
        try:
            seen = await self.novita.get(instance.novita_id)
        except NovitaNotFound:
            return lambda row: watching.confirm_absence(row, self.clock(), self.limits)
        except NovitaError as error:
            self.log.warning("confirm_failed", instance_id=instance.id, code=error.error_code)
            delay = exponential(
                instance.failures + 1,
                first=_CONFIRM_AGAIN_AFTER,
                ceiling=self.limits.retry_ceiling,
                random=self.random(),
            )
            return lambda row: watching.confirm_later(row, self.clock(), delay)
        return lambda row: watching.observe(row, seen, self.clock(), self.limits, is_single=True)

    async def _ask(self, instance: Instance, verb: Verb, lease_token: str) -> Fold:
        assert instance.novita_id is not None
        calls = {
            Verb.START: self.novita.start,
            Verb.STOP: self.novita.stop,
            Verb.RESTART: self.novita.restart,
            Verb.DELETE: self.novita.delete,
        }
        failure: NovitaError | None = None
        try:
            await calls[verb](instance.novita_id, check=self._check(instance.id, lease_token))
        except NovitaError as error:
            failure = error
            self.log.warning(
                "verb_refused",
                instance_id=instance.id,
                verb=verb.value,
                code=error.error_code,
                novita_reason=error.reason,
                novita_message=error.message,
            )
        return lambda row: answered(row, verb, failure, self.clock(), self.limits)

    async def _discard(self, instance: Instance, novita_id: str) -> Fold:
        is_known, is_accepted = await discard(self.novita, instance.id, novita_id, self.log)
        return lambda row: surplus.tried(
            row,
            novita_id,
            self.clock(),
            self.limits,
            is_known=is_known,
            is_accepted=is_accepted,
        )

    def _check(self, instance_id: str, lease_token: str) -> Callable[[], None]:
        """Return what keeps a worker that was paused too long from asking for a change.

        Whoever has its row by now looks the machine up, and must be able to trust that no purchase
        comes after.
        """
        return lambda: self.leasing.check(instance_id, lease_token, self.clock())

    async def _apply(
        self, instance_id: str, fold: Fold, lease_token: str, *, keep: bool = False
    ) -> tuple[Change, bool]:
        """Store what came of a step; give the row back unless there is more to do at once."""
        now = self.clock()
        origin = self.traces.current()

        def apply(connection: Connection) -> tuple[Change, bool]:
            change = instances.change(
                connection,
                instance_id,
                lambda row: schedule(fold(row), now, self.limits),
                now,
                self.outbox,
                lease_token=lease_token,
                origin=lambda change: origin or change.after.traceparent,
            )
            due_at = change.after.due_at
            is_due = keep or (due_at is not None and due_at <= now)
            if not is_due:
                leases.release(connection, tables.instances, instance_id, lease_token)
            return change, is_due

        change, is_due = await self.database.write(apply)
        self.nudges.changed([change], is_held=is_due)
        self.on_change(change)
        return change, is_due


def _of_this_name(listing: Listing, instance: Instance) -> list[Observation]:
    """Return the machines of exactly the name: Novita's filter is fuzzy (API notes §9)."""
    return [
        seen
        for seen in listing.machines
        if seen.name == instance.novita_name and seen.phase is not Phase.GONE
    ]


def _is_last_look(instance: Instance, listing: Listing) -> bool:
    """Whether an absence in this listing would mean that nothing was bought."""
    until = instance.buying.lookup_until if instance.buying else None
    return until is not None and listing.at >= until
