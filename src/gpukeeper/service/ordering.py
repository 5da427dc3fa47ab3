"""Place an order: store it, have it bought, and wait for Novita's answer."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from gpukeeper.domain.errors import NotFound
from gpukeeper.domain.events import Change
from gpukeeper.domain.instance import Instance, Order, Status
from gpukeeper.novita.market import Market
from gpukeeper.nudges import Nudges
from gpukeeper.service import placing
from gpukeeper.service.failing import OrderFailed
from gpukeeper.store import idempotency, instances
from gpukeeper.store.database import Connection, Database
from gpukeeper.store.leases import Lease
from gpukeeper.store.outbox import Outbox
from gpukeeper.store.sealing import Seal
from gpukeeper.telemetry import OFF, Traces

# While a request waits for an order, a change made by another process is seen this soon.
_PEEK_EVERY_SECONDS = 0.5


class Buyer(Protocol):
    """Who buys what is ordered here."""

    def reserve(self, row: Instance) -> AbstractContextManager[Lease | None]:
        """Keep room for a row that is about to be stored, and give the lease to store it with.

        None means that it is to be stored without, for whoever finds it due.
        """

    def begin(self, row: Instance, lease: Lease) -> None:
        """Work on a row that has been stored with this lease; returns at once."""


class BuyerElsewhere:
    """Nobody in this process buys: an engine finds the order in the store."""

    def reserve(self, row: Instance) -> AbstractContextManager[Lease | None]:
        """Give no lease."""
        return nullcontext()

    def begin(self, row: Instance, lease: Lease) -> None:
        """Cannot be asked: it gave no lease."""
        raise AssertionError("nobody here can work on this")


@dataclass(frozen=True, slots=True)
class Ordering:
    """Takes orders; ``patience`` is how long a new one is waited for."""

    database: Database
    market: Market
    outbox: Outbox
    seal: Seal
    deployment: str
    nudges: Nudges
    clock: Callable[[], datetime]
    random_bytes: Callable[[int], bytes]
    on_change: Callable[[Change], None]
    buyer: Buyer = field(default_factory=BuyerElsewhere)
    patience: timedelta = timedelta(seconds=20)
    traces: Traces = OFF

    async def place(
        self, order: Order, *, idempotency_key: str | None = None, body_hash: str = ""
    ) -> tuple[Instance, bool]:
        """Store an order and wait for Novita's answer as long as is reasonable.

        Returns the row, and whether it is new: with an idempotency key the same order may be sent
        any number of times and is bought once.  Raises OrderFailed, and KeyReused when the key
        came with another body.
        """
        now = self.clock()
        placed = placing.placed(
            order,
            now,
            deployment=self.deployment,
            region=self.market.default_region,
            random_bytes=self.random_bytes,
            traceparent=self.traces.current(),
        )
        with self.buyer.reserve(placed) as lease:

            def store(connection: Connection) -> str:
                if idempotency_key is not None:
                    known = idempotency.keep(connection, idempotency_key, body_hash, placed.id, now)
                    if known is not None:
                        return known
                instances.add(connection, placed, self.seal, self.outbox, lease=lease)
                return placed.id

            instance_id = await self.database.write(store)
            is_new = instance_id == placed.id
            if is_new and lease is not None:
                self.buyer.begin(placed, lease)
        if is_new:
            change = Change(None, placed, now)
            self.nudges.changed([change], is_held=lease is not None)
            self.on_change(change)
        found = await self._answered(instance_id, placed if is_new else None)
        if found.status is Status.FAILED and found.novita_id is None and found.buying is None:
            raise OrderFailed(found, self.clock())
        return found, is_new

    async def _answered(self, instance_id: str, placed: Instance | None) -> Instance:
        """Return the row once Novita has accepted or refused the order, or its answer was lost."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self.patience.total_seconds()
        with self.nudges.watch(instance_id) as changed:
            found = placed or await self._find(instance_id)
            while placing.is_open(found) and loop.time() < ends_at and not self.nudges.is_draining:
                try:
                    async with asyncio.timeout(_PEEK_EVERY_SECONDS):
                        told = await changed.get()
                except TimeoutError:
                    told = None
                found = told or await self._find(instance_id)
            return found

    async def _find(self, instance_id: str) -> Instance:
        found = await self.database.read(lambda connection: instances.find(connection, instance_id))
        if found is None:
            raise NotFound(f"There is no instance '{instance_id}'.")
        return found
