"""Place an order: store it, have it bought, and wait for Novita's answer."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from gpukeeper.domain.errors import InvalidOrder, NotFound, NothingForSale, NovitaError
from gpukeeper.domain.events import Change
from gpukeeper.domain.instances import Instance, Order, Status
from gpukeeper.domain.lifecycle import new_instance
from gpukeeper.domain.lifecycle.purchases import is_safe_to_repeat
from gpukeeper.domain.lifecycle.transitions import Limits
from gpukeeper.domain.wakeups import LoopName
from gpukeeper.novita.quotes import Quotation, Quotes
from gpukeeper.nudges import Nudges
from gpukeeper.service import order_recovery
from gpukeeper.service.failing import OrderFailed, OrderRefused
from gpukeeper.service.order_recovery import Recovered
from gpukeeper.store import facts, idempotency, instances
from gpukeeper.store.db.database import Connection, Database
from gpukeeper.store.encryption import EnvsCipher
from gpukeeper.store.leases import Lease
from gpukeeper.store.outbox import Outbox
from gpukeeper.telemetry import tracing

# While a request waits for an order, a change made by another process is seen this soon.
_PEEK_EVERY_SECONDS = 0.5
# Of the time that a caller waits so much is left for Novita to say what it sells.
_CHOICE_SECONDS = 10.0


class Claim(Protocol):
    """How an order is to be stored that is bought in this process."""

    @property
    def row(self) -> Instance:
        """What to store."""

    @property
    def lease(self) -> Lease:
        """What to store it with."""


C = TypeVar("C", bound=Claim)


class Buyer(Protocol[C]):
    """Who buys what is ordered here."""

    def reserve(
        self, row: Instance, choice: Quotation | Awaitable[Quotation]
    ) -> AbstractContextManager[C | None]:
        """Keep room for a row that is about to be stored, and say how it is to be stored.

        ``choice`` is what it can buy, or who has been asked for that.  None means that it is to be
        stored as it is, for whoever finds it due.
        """

    def begin(self, claim: C) -> None:
        """Work on a row that has been stored as the claim says; returns at once."""


class BuyerElsewhere:
    """Nobody in this process buys: an engine finds the order in the store."""

    def reserve(
        self, row: Instance, choice: Quotation | Awaitable[Quotation]
    ) -> AbstractContextManager[None]:
        """Claim nothing."""
        return nullcontext()

    def begin(self, claim: Claim) -> None:
        """Cannot be asked: it claimed nothing."""
        raise AssertionError("nobody here can work on this")


@dataclass(frozen=True, slots=True)
class Ordering:
    """Takes orders; ``patience`` is how long a new one is waited for.

    ``on_refusal`` is told the code of an order that is refused and leaves nothing.
    """

    database: Database
    market: Quotes
    outbox: Outbox
    seal: EnvsCipher
    deployment: str
    nudges: Nudges
    clock: Callable[[], datetime]
    random_bytes: Callable[[int], bytes]
    on_change: Callable[[Change], None]
    buyer: Buyer[Any] = field(default_factory=BuyerElsewhere)
    patience: timedelta = timedelta(seconds=20)
    limits: Limits = field(default_factory=Limits)
    on_refusal: Callable[[str], None] = lambda code: None

    async def place(
        self, order: Order, *, idempotency_key: str | None = None, body_hash: str = ""
    ) -> tuple[Instance, bool]:
        """Store an order and wait for Novita's answer as long as is reasonable.

        Returns the row, and whether it is new: with an idempotency key the same order may be sent
        any number of times and is bought once.  What cannot be bought is refused before anything
        is stored (InvalidOrder, OrderRefused); where Novita cannot be asked what it sells, the
        order is stored all the same.  Raises OrderFailed, KeyReused when the key came with another
        body, and StoreRestored while the store takes no orders.
        """
        ends_at = asyncio.get_running_loop().time() + self.patience.total_seconds()
        choice = self.market.known(order)
        if choice is not None:
            instance_id, row, _ = await self._store(order, choice, idempotency_key, body_hash)
            return await self._told(instance_id, row, ends_at), row is not None
        is_recoverable = False
        if idempotency_key is not None:
            # What was ordered stays ordered, whatever is for sale now.
            known, is_recoverable = await self._known(order, idempotency_key, body_hash)
            if known is not None:
                return await self._told(known, None, ends_at), False
        asked = asyncio.ensure_future(self.market.choose(order))
        is_handed_over = False
        try:
            if not is_recoverable:
                await self._wait_for(asked)
            chosen = asked if is_recoverable else self._chosen(asked)
            instance_id, row, is_handed_over = await self._store(
                order, chosen, idempotency_key, body_hash
            )
        finally:
            if not is_handed_over:
                asked.cancel()
        return await self._told(instance_id, row, ends_at), row is not None

    async def _known(self, order: Order, key: str, body_hash: str) -> tuple[str | None, bool]:
        """Return the instance that this key has ordered, and whether it may have a machine.

        There is no instance where the key may order anew; the machine is one that the store does
        not know, since it was restored.
        """
        names = order_recovery.derive_names(order.name, self.deployment, key)

        def find(connection: Connection) -> tuple[str | None, bool]:
            found = idempotency.find_instance_id(connection, key, body_hash)
            row = None if found is None else instances.find(connection, found)
            known = None if row is None or is_safe_to_repeat(row) else row.id
            return known, order_recovery.has_machine(connection, names)

        return await self.database.read(find)

    async def _wait_for(self, asked: asyncio.Future[Quotation]) -> None:
        """Wait for Novita to say what it sells, but not for long: then the order is stored."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + min(_CHOICE_SECONDS, self.patience.total_seconds())
        while not asked.done() and loop.time() < ends_at and not self.nudges.is_draining:
            await asyncio.wait([asked], timeout=_PEEK_EVERY_SECONDS)

    def _chosen(self, asked: asyncio.Future[Quotation]) -> Quotation | Awaitable[Quotation]:
        """Return what can be bought, or who is still asked; raise what is refused for good."""
        if not asked.done():
            return asked
        try:
            return asked.result()
        except NovitaError:
            # Novita cannot be asked: whoever buys is told so, or tries again.
            return asked
        except NothingForSale as error:
            self.on_refusal(error.error_code)
            raise OrderRefused(error, self.clock()) from error
        except InvalidOrder as error:
            self.on_refusal(error.error_code)
            raise

    async def _store(
        self,
        order: Order,
        choice: Quotation | Awaitable[Quotation],
        idempotency_key: str | None,
        body_hash: str,
    ) -> tuple[str, Instance | None, bool]:
        """Store an order; return which instance it is, its row if it is new, and who works on it.

        The last says whether a worker of this process has begun with it.
        """
        now = self.clock()
        names = order_recovery.derive_names(order.name, self.deployment, idempotency_key)
        name = (
            await self.database.read(lambda c: order_recovery.find_free_name(c, names))
            if names
            else None
        )
        placed = new_instance.create_from_order(
            order,
            now,
            novita_name=name,
            deployment=self.deployment,
            region=self.market.default_region,
            random_bytes=self.random_bytes,
            traceparent=tracing.current_traceparent(),
        )
        with self.buyer.reserve(placed, choice) as claim:
            row, lease = (claim.row, claim.lease) if claim else (placed, None)

            def store(connection: Connection) -> Recovered | None:
                if idempotency_key is not None:
                    known = idempotency.record(
                        connection, idempotency_key, body_hash, placed.id, now
                    )
                    if known is not None:
                        return Recovered(known)
                    found = order_recovery.recover_order(
                        connection, placed, names, now, self.limits, self.seal, self.outbox
                    )
                    if found is not None:
                        idempotency.repoint(connection, idempotency_key, found.instance_id)
                        return found
                facts.check_takes_orders(connection)
                instances.add(connection, row, self.seal, self.outbox, lease=lease)
                return None

            known = await self.database.write(store)
            is_new = known is None
            instance_id = placed.id if known is None else known.instance_id
            if is_new and claim:
                self.buyer.begin(claim)
        if known is not None and known.change is not None:
            self._tell(known.change, is_held=False)
            for loop_name in (LoopName.DELIVER, LoopName.EVENTS):
                self.nudges.wake(loop_name)
        if is_new:
            # Once the buyer has begun: nobody waits for what is told here.
            loop = asyncio.get_running_loop()
            loop.call_soon(self._tell, Change(None, row, now), claim is not None)
        return instance_id, row if is_new else None, is_new and claim is not None

    async def _told(self, instance_id: str, placed: Instance | None, ends_at: float) -> Instance:
        """Return the row once Novita has answered; raises OrderFailed."""
        found = await self._answered(instance_id, placed, ends_at)
        is_sold = found.machine.novita_id is not None or found.purchase.intent is not None
        if found.status is Status.FAILED and not is_sold:
            raise OrderFailed(found, self.clock())
        return found

    async def _answered(
        self, instance_id: str, placed: Instance | None, ends_at: float
    ) -> Instance:
        """Return the row once Novita has accepted or refused the order, or its answer was lost."""
        loop = asyncio.get_running_loop()
        with self.nudges.watch(instance_id) as changed:
            found = placed or await self._find(instance_id)
            while (
                new_instance.is_open(found)
                and loop.time() < ends_at
                and not self.nudges.is_draining
            ):
                try:
                    async with asyncio.timeout(_PEEK_EVERY_SECONDS):
                        told = await changed.get()
                except TimeoutError:
                    told = None
                found = told or await self._find(instance_id)
            return found

    def _tell(self, change: Change, is_held: bool) -> None:
        self.nudges.changed([change], is_held=is_held)
        self.on_change(change)

    async def _find(self, instance_id: str) -> Instance:
        found = await self.database.read(lambda connection: instances.find(connection, instance_id))
        if found is None:
            raise NotFound(f"There is no instance '{instance_id}'.")
        return found
