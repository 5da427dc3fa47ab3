"""The last of the five lines: store what came of a step on a row that this process holds."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from gpukeeper.domain.errors import NovitaError
from gpukeeper.domain.events import Change
from gpukeeper.domain.instances import Instance
from gpukeeper.domain.lifecycle import purchases
from gpukeeper.domain.lifecycle.decide import schedule
from gpukeeper.domain.lifecycle.transitions import Limits
from gpukeeper.engine.leases import HeldLeases
from gpukeeper.engine.loop import Clock
from gpukeeper.novita.client import NovitaClient
from gpukeeper.nudges import Nudges
from gpukeeper.store import instances
from gpukeeper.store.db.database import Conflict, Connection, Database
from gpukeeper.store.outbox import Outbox
from gpukeeper.telemetry import Logger, tracing

Fold = Callable[[Instance], Instance]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Applying:
    """Folds results into leased rows, and tells whoever is concerned."""

    database: Database
    novita: NovitaClient
    outbox: Outbox
    limits: Limits
    clock: Clock
    nudges: Nudges
    leasing: HeldLeases
    on_change: Callable[[Change], None]
    log: Logger

    async def apply(self, instance_id: str, fold: Fold, lease_token: str) -> tuple[Change, bool]:
        """Store what came of a step; give the row back unless there is more to do at once.

        Returns what changed, and whether the row is still held because it is due.  Raises
        LeaseLost when the lease does not hold the row any more.
        """
        now = self.clock()
        origin = tracing.current_traceparent()

        def is_over(row: Instance) -> bool:
            return row.due_at is None or row.due_at > now

        def store(connection: Connection) -> Change:
            return self._change(
                connection, instance_id, fold, lease_token, now, origin, is_over=is_over
            )

        try:
            change = await self.database.write(store)
        except Conflict:
            fold = await self._make_way_for(instance_id, fold)
            change = await self.database.write(store)
        is_due = not is_over(change.after)
        self._tell(change, is_held=is_due)
        return change, is_due

    async def apply_and_read(
        self, instance_id: str, fold: Fold, lease_token: str, read: Callable[[Connection], T]
    ) -> tuple[Change, T]:
        """Store what came of a step and go on holding the row; return what ``read`` finds then.

        Raises LeaseLost when the lease does not hold the row any more.
        """
        now = self.clock()
        origin = tracing.current_traceparent()

        def store(connection: Connection) -> tuple[Change, T]:
            change = self._change(connection, instance_id, fold, lease_token, now, origin)
            return change, read(connection)

        change, found = await self.database.write(store)
        self._tell(change, is_held=True)
        return change, found

    def check(self, instance_id: str, lease_token: str) -> Callable[[], None]:
        """Return what keeps a worker that was paused too long from asking for a change.

        Whoever has its row by now looks the machine up, and must be able to trust that no purchase
        comes after.
        """
        return lambda: self.leasing.check(instance_id, lease_token, self.clock())

    async def make_way(self, novita_id: str, owner: Instance) -> None:
        """Let a row that holds this id give it up: its machine has another name, so it is gone."""
        holder = await self.database.read(lambda c: instances.find(c, novita_id))
        if holder is None or holder.id == owner.id:
            return
        self.log.error(
            "machine_id_reused", instance_id=owner.id, novita_id=novita_id, held_by=holder.id
        )
        now = self.clock()

        def give_up(row: Instance) -> Instance:
            return schedule(purchases.give_up_machine(row, novita_id, owner, now), now, self.limits)

        change = await self.database.write(
            lambda c: instances.change(c, holder.id, give_up, now, self.outbox)
        )
        self._tell(change)

    async def _make_way_for(self, instance_id: str, fold: Fold) -> Fold:
        """Return what is to be stored although another row holds the machine of this one.

        Whoever answered a purchase with the id of a machine that is known may not be Novita: only
        if the machine has the name that was sent is it this row's.  Else the answer is lost.
        """
        row = await self.database.read(lambda c: instances.find(c, instance_id))
        novita_id = None if row is None else fold(row).machine.novita_id
        if row is None or novita_id is None:
            return fold
        try:
            listing = await self.novita.list_all(name=row.novita_name)
            shown = [seen.name for seen in listing.machines if seen.novita_id == novita_id]
            is_own = shown == [row.novita_name]
        except NovitaError as error:
            self.log.warning("owner_not_confirmed", instance_id=row.id, code=error.error_code)
            is_own = False
        if is_own:
            await self.make_way(novita_id, row)
            return fold
        self.log.error("purchase_answered_with_known_id", instance_id=row.id, novita_id=novita_id)
        return lambda row: purchases.record_lost_answer(row, self.clock(), self.limits)

    def _change(
        self,
        connection: Connection,
        instance_id: str,
        fold: Fold,
        lease_token: str,
        now: datetime,
        origin: str | None,
        *,
        is_over: Callable[[Instance], bool] = lambda row: False,
    ) -> Change:
        return instances.change(
            connection,
            instance_id,
            lambda row: schedule(fold(row), now, self.limits),
            now,
            self.outbox,
            lease_token=lease_token,
            is_over=is_over,
            origin=lambda change: origin or change.after.traceparent,
        )

    def _tell(self, change: Change, *, is_held: bool = False) -> None:
        self.nudges.changed([change], is_held=is_held)
        # Whoever waits for the change goes on first.
        asyncio.get_running_loop().call_soon(self.on_change, change)
