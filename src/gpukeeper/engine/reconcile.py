"""The five lines for an instance: load, observe, decide, perform, apply.

Observing is mostly the sweep's: one listing serves all (:mod:`gpukeeper.engine.sweep`).  What is
left here are the rows that are due: to be bought, looked up, started, confirmed, given up.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from gpukeeper.domain.backoff import exponential_delay
from gpukeeper.domain.errors import LeaseLost, NovitaError, NovitaNotFound
from gpukeeper.domain.instances import Command, Instance
from gpukeeper.domain.lifecycle import duplicates, observations
from gpukeeper.domain.lifecycle.command_results import apply_command_result
from gpukeeper.domain.lifecycle.decide import decide, settle
from gpukeeper.domain.lifecycle.steps import (
    ChangeStatus,
    ChooseOffer,
    Confirm,
    DeleteDuplicate,
    LookUp,
    SendCommand,
    Step,
    Wait,
)
from gpukeeper.domain.lifecycle.transitions import Limits
from gpukeeper.domain.wakeups import LoopName
from gpukeeper.engine.applying import Applying, Fold
from gpukeeper.engine.duplicates import delete_duplicate
from gpukeeper.engine.leases import HeldLeases, new_lease
from gpukeeper.engine.loop import Clock, Workers
from gpukeeper.engine.purchases import Beginning, FirstStep, Purchaser
from gpukeeper.novita.client import NovitaClient
from gpukeeper.novita.quotes import Quotation
from gpukeeper.store import facts, instances
from gpukeeper.store.db.database import Connection, Database
from gpukeeper.store.leases import Lease
from gpukeeper.telemetry import Logger, tracing

# The first pause after Novita could not be asked about one machine; doubled each time.
_CONFIRM_AGAIN_AFTER = timedelta(seconds=2)

# What the work is called in traces.
_NAME = {
    instances.DueQueue.ORDERS: LoopName.PURCHASE,
    instances.DueQueue.MACHINES: LoopName.RECONCILE,
    instances.DueQueue.ALL: LoopName.RECONCILE,
}


@dataclass(frozen=True, slots=True)
class Claim:
    """A new order that this process will buy itself, once it is stored as this says."""

    beginning: Beginning
    lease: Lease

    @property
    def row(self) -> Instance:
        """What is to be stored."""
        return self.beginning.row


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Works on the instances of one kind that are due.

    Orders have workers of their own: purchases that hang must not hold up a stop or a delete,
    which end spending.
    """

    kind: instances.DueQueue
    database: Database
    novita: NovitaClient
    purchasing: Purchaser
    applying: Applying
    limits: Limits
    clock: Clock
    random: Callable[[], float]
    new_token: Callable[[], str]
    workers: Workers
    leasing: HeldLeases
    log: Logger

    async def turn(self) -> datetime | None:
        """Claim what is due, start a worker for each, and return when the next row is due."""
        now = self.clock()
        await self.leasing.renew(now)
        room = self.workers.room
        # Rows may have been handed over while the last turn claimed: there may be less than none.
        if room <= 0:
            self.workers.is_in_arrears = True
            self.workers.call_when_free()
            return None
        lease = new_lease(self.new_token(), now)

        def claim(connection: Connection) -> tuple[list[Instance], datetime | None]:
            if self.kind is not instances.DueQueue.MACHINES and facts.count_sweeps_to_go(
                connection
            ):
                # What a restored store has not bought, it may have bought since its backup.
                return [], None
            rows = instances.claim(
                connection, now, room, lease, kind=self.kind, on_unreadable=self._unreadable
            )
            return rows, instances.next_due_at(connection, now, kind=self.kind)

        claimed, next_due_at = await self.database.write(claim)
        self.workers.is_in_arrears = len(claimed) == room
        for instance in claimed:
            self._start(instance, lease)
        return next_due_at

    @contextmanager
    def reserve(
        self, row: Instance, choice: Quotation | Awaitable[Quotation]
    ) -> Iterator[Claim | None]:
        """Keep room for an order that is about to be stored, and say how it is to be stored.

        None means that there is no room: it is to be stored as it is, and waits its turn.
        """
        with self.workers.reserve() as has_room:
            if not has_room:
                yield None
                return
            beginning = self.purchasing.begin(row, choice)
            yield Claim(beginning, new_lease(self.new_token(), self.clock()))

    def begin(self, claim: Claim) -> None:
        """Work on a row that has been stored as the claim says; returns at once."""
        self._start(claim.row, claim.lease, claim.beginning.step)

    def _start(self, row: Instance, lease: Lease, first: FirstStep | None = None) -> None:
        self.leasing.hold(lease)
        self.workers.start(self.work(row, lease.token, first), row.id, lease.token)

    def _unreadable(self, instance_id: str, error: str) -> None:
        self.log.error("row_unreadable", instance_id=instance_id, error=error)

    async def work(
        self, instance: Instance, lease_token: str, first: FirstStep | None = None
    ) -> None:
        """Take one leased instance as far as it goes now; give up quietly if the lease is lost.

        ``first`` is what to begin with, if that is decided.
        """
        with tracing.start_span(
            _NAME[self.kind],
            parent=instance.traceparent,
            attributes={"gpukeeper.instance.id": instance.id},
        ):
            try:
                await self._work(instance, lease_token, first)
            except LeaseLost:
                self.log.info("lease_lost", instance_id=instance.id)

    async def _work(self, instance: Instance, lease_token: str, first: FirstStep | None) -> None:
        is_due = True
        while is_due:
            if first is not None:
                fold = await first(lease_token)
            else:
                step = decide(instance, self.clock(), self.limits)
                fold = await self._perform(instance, step, lease_token)
            first = None
            change, is_due = await self.applying.apply(instance.id, fold, lease_token)
            instance = change.after

    async def _perform(self, instance: Instance, step: Step, lease_token: str) -> Fold:
        match step:
            case Wait():
                return lambda row: row
            case ChangeStatus(is_confirmed_first=True):
                # Where Novita cannot be asked, it changes only if a listing has shown it since.
                seen = await self._confirm(instance)
                return lambda row: settle(seen(row), self.clock(), self.limits)
            case ChangeStatus():
                return lambda row: settle(row, self.clock(), self.limits)
            case ChooseOffer():
                return await self.purchasing.choose_and_buy(instance, lease_token)
            case LookUp():
                return await self.purchasing.look_up(instance)
            case Confirm():
                return await self._confirm(instance)
            case SendCommand(command=command):
                return await self._ask(instance, command, lease_token)
            case DeleteDuplicate(novita_id=novita_id):
                return await self._discard(instance, novita_id)
        assert_never(step)

    async def _confirm(self, instance: Instance) -> Fold:
        assert instance.machine.novita_id is not None
        try:
            seen = await self.novita.get(instance.machine.novita_id)
        except NovitaNotFound:
            return lambda row: observations.confirm_missing(row, self.clock(), self.limits)
        except NovitaError as error:
            self.log.warning("confirm_failed", instance_id=instance.id, code=error.error_code)
            delay = exponential_delay(
                instance.watch.failures + 1,
                first=_CONFIRM_AGAIN_AFTER,
                ceiling=self.limits.retry_ceiling,
                random=self.random(),
            )
            return lambda row: observations.postpone_confirmation(row, self.clock(), delay)
        return lambda row: observations.observe(
            row, seen, self.clock(), self.limits, is_single=True
        )

    async def _ask(self, instance: Instance, verb: Command, lease_token: str) -> Fold:
        assert instance.machine.novita_id is not None
        calls = {
            Command.START: self.novita.start,
            Command.STOP: self.novita.stop,
            Command.RESTART: self.novita.restart,
            Command.DELETE: self.novita.delete,
        }
        failure: NovitaError | None = None
        try:
            await calls[verb](
                instance.machine.novita_id, check=self.applying.check(instance.id, lease_token)
            )
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
        return lambda row: apply_command_result(row, verb, failure, self.clock(), self.limits)

    async def _discard(self, instance: Instance, novita_id: str) -> Fold:
        is_known, is_accepted = await delete_duplicate(self.novita, instance, novita_id, self.log)
        return lambda row: duplicates.record_deletion_attempt(
            row,
            novita_id,
            self.clock(),
            self.limits,
            is_known=is_known,
            is_accepted=is_accepted,
        )
