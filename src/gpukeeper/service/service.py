"""The use cases: each reads or writes the store, nudges the engine, and returns what came of it.

Only the engine asks Novita to change anything.  What is asked of Novita here are reads on
request: offers, a refresh, a password.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gpukeeper.contract.orphans import Orphan, describe_orphan
from gpukeeper.domain import ids
from gpukeeper.domain.deliveries import DeliveryStatus
from gpukeeper.domain.errors import (
    InvalidOrder,
    NotFound,
    NovitaError,
    NovitaNotFound,
    WrongStatus,
)
from gpukeeper.domain.events import Change, Event
from gpukeeper.domain.instances import Command, Instance, Order, Status
from gpukeeper.domain.lifecycle import observations
from gpukeeper.domain.lifecycle.commands import request_command
from gpukeeper.domain.lifecycle.decide import schedule
from gpukeeper.domain.lifecycle.transitions import Limits
from gpukeeper.domain.machines import ConnectionDetails as Access
from gpukeeper.domain.products import BillingMode, Cluster, Offer, Template
from gpukeeper.domain.wakeups import LoopName
from gpukeeper.novita.client import NovitaClient
from gpukeeper.novita.quotes import Quotes
from gpukeeper.nudges import Nudges
from gpukeeper.service.feed import Feed
from gpukeeper.service.health import Census, Health, take_census
from gpukeeper.service.instances import read_page
from gpukeeper.service.ordering import Ordering
from gpukeeper.service.orphans import Adoption, adopt_orphan, record_orphan
from gpukeeper.service.time_limit import READ_LIMIT, limit_time
from gpukeeper.service.views import (
    DeliveryView,
    Page,
    View,
    build_view,
    decode_cursor,
    encode_cursor,
)
from gpukeeper.store import deliveries, facts, instances, orphans
from gpukeeper.store import events as history
from gpukeeper.store.db.database import Connection, Database
from gpukeeper.store.encryption import EnvsCipher
from gpukeeper.store.outbox import Outbox
from gpukeeper.telemetry import Logger, tracing


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that a caller may ask for.

    ``patience`` is how old a look may be before answers count as stale, ``read_limit`` how long
    Novita is waited for where a caller reads.
    """

    ordering: Ordering
    database: Database
    novita: NovitaClient
    market: Quotes
    outbox: Outbox
    seal: EnvsCipher
    limits: Limits
    deployment: str
    nudges: Nudges
    feed: Feed
    clock: Callable[[], datetime]
    random_bytes: Callable[[int], bytes]
    on_change: Callable[[Change], None]
    examine: Callable[[bool], Awaitable[Health]]
    log: Logger
    patience: timedelta | None
    read_limit: timedelta = READ_LIMIT

    async def order(
        self, order: Order, *, idempotency_key: str | None = None, body_hash: str = ""
    ) -> View:
        """Store an order, have it bought, and wait for Novita's answer as long as is reasonable.

        The instance has a ``novita_id`` when Novita accepted it.  With an idempotency key the
        same order may be sent any number of times and is bought once.  Raises OrderFailed, and
        KeyReused when the key came with another body.
        """
        found, is_new = await self.ordering.place(
            order, idempotency_key=idempotency_key, body_hash=body_hash
        )
        # Of what was just bought no look can tell anything.
        looks = facts.SweepState() if is_new else await self.database.read(facts.find_state)
        return build_view(found, looks, self.clock(), patience=self.patience)

    async def instance(self, instance_id: str, *, refresh: bool = False) -> View:
        """Return an instance by our id or Novita's; ``refresh`` asks Novita first.

        When Novita cannot be asked, the stored state is returned as stale.  Raises NotFound.
        """
        shown = await self._show(instance_id)
        found = shown.instance
        if not refresh or not found.is_watched:
            return shown
        try:
            await self._refresh(found)
        except NovitaError as error:
            self.log.warning("refresh_failed", instance_id=found.id, code=error.error_code)
            return replace(await self._show(found.id), is_stale=True)
        return await self._show(found.id)

    async def instances(
        self,
        *,
        statuses: Collection[Status] = (),
        is_current: bool = False,
        name: str | None = None,
        limit: int,
        cursor: str | None = None,
    ) -> Page:
        """Return a page of instances, newest first; no ``statuses`` means all.

        ``is_current`` leaves out those that have ended.  Raises InvalidOrder for a bad cursor.
        """
        return await read_page(
            self.database,
            statuses=statuses,
            is_current=is_current,
            name=name,
            limit=limit,
            cursor=cursor,
            now=self.clock(),
            patience=self.patience,
        )

    async def events(self, instance_id: str) -> tuple[Event, ...]:
        """Return what happened to an instance, oldest first.  Raises NotFound."""
        found = await self._find(instance_id)
        return tuple(await self.database.read(lambda c: history.list_of_instance(c, found.id)))

    async def env_names(self, instance_id: str) -> tuple[str, ...]:
        """Return the names of the environment values that were ordered.  Raises NotFound."""
        found = await self._find(instance_id)
        values = await self.database.read(lambda c: instances.read_envs(c, found.id, self.seal))
        return tuple(values)

    async def connection(self, instance_id: str) -> Access:
        """Return how to reach a running machine, with its password, which is never stored.

        Raises NotFound, WrongStatus when it is not running, and NovitaError.
        """
        found = await self._find(instance_id)
        if found.status is not Status.RUNNING or found.machine.novita_id is None:
            raise WrongStatus(
                f"'{found.order.name}' is {found.status.value}; only a running machine is reached."
            )
        try:
            async with limit_time(self.read_limit, self.novita):
                return await self.novita.connection(found.machine.novita_id)
        except NovitaNotFound as error:
            await self._change(
                found.id, lambda row: observations.suspect_missing(row, self.clock(), self.limits)
            )
            raise WrongStatus("Novita does not know this machine any more.") from error

    async def want(self, instance_id: str, verb: Command) -> View:
        """Store the owner's wish; the engine carries it out.  Raises NotFound, WrongStatus."""
        found = await self._find(instance_id)
        traceparent = tracing.current_traceparent()

        def wish(row: Instance) -> Instance:
            wanted = request_command(row, verb, self.clock())
            return row if wanted == row else replace(wanted, traceparent=traceparent)

        return await self._view(await self._change(found.id, wish))

    async def offers(
        self,
        *,
        product_name: str | None,
        region: str | None,
        billing_mode: BillingMode,
        gpu_num: int,
        rootfs_size_gb: int,
    ) -> tuple[Offer, ...]:
        """Return what is for sale with such a disk, cheapest first.

        Raises InvalidOrder and NovitaError.
        """
        async with limit_time(self.read_limit, self.novita):
            return await self.market.price_list(
                product_name=product_name,
                region=region,
                billing_mode=billing_mode,
                gpu_num=gpu_num,
                rootfs_size_gb=rootfs_size_gb,
            )

    async def templates(self) -> tuple[Template, ...]:
        """Return the account's templates, then Novita's own.  Raises NovitaError."""
        async with limit_time(self.read_limit, self.novita):
            return await self.market.catalog.templates()

    async def regions(self) -> tuple[Cluster, ...]:
        """Return Novita's regions.  Raises NovitaError."""
        async with limit_time(self.read_limit, self.novita):
            return await self.market.catalog.clusters()

    async def deliveries(
        self,
        *,
        status: DeliveryStatus | None,
        instance_id: str | None,
        limit: int,
        cursor: str | None,
    ) -> tuple[tuple[DeliveryView, ...], str | None]:
        """Return a page of deliveries, newest first, and where the next begins."""
        before = decode_cursor(cursor)
        rows, following = await self.database.read(
            lambda connection: deliveries.list_page(
                connection, status=status, instance_id=instance_id, before=before, limit=limit
            )
        )
        return tuple(map(DeliveryView, rows)), encode_cursor(following)

    async def delivery(self, delivery_id: str) -> DeliveryView:
        """Return a delivery with its attempts.  Raises NotFound."""
        found, attempts = await self.database.read(
            lambda connection: (
                deliveries.find(connection, delivery_id),
                deliveries.list_attempts(connection, delivery_id),
            )
        )
        if found is None:
            raise NotFound(f"There is no delivery '{delivery_id}'.", code="delivery_not_found")
        return DeliveryView(found, tuple(attempts))

    async def redeliver(self, delivery_id: str) -> DeliveryView:
        """Send a delivery again, now and with its retries renewed.  Raises NotFound."""
        now = self.clock()
        await self.database.write(
            lambda connection: deliveries.redeliver(
                connection, delivery_id, now, self.outbox.retries
            )
        )
        self.nudges.wake(LoopName.DELIVER)
        return await self.delivery(delivery_id)

    async def send_test(self) -> tuple[DeliveryView, ...]:
        """Send a ``webhook.test`` event to the operator's URLs.  Raises InvalidOrder without."""
        if not self.outbox.operator_urls:
            raise InvalidOrder("No webhook is configured: set GPUKEEPER_WEBHOOK_URL.")
        now = self.clock()
        urls = [(url, True) for url in self.outbox.operator_urls]
        traceparent = tracing.current_traceparent()
        delivery_ids = await self.database.write(
            lambda connection: self.outbox.record_test(
                connection, urls, now, traceparent=traceparent
            )
        )
        self.nudges.wake(LoopName.DELIVER)
        self.nudges.wake(LoopName.EVENTS)
        return tuple([await self.delivery(delivery_id) for delivery_id in delivery_ids])

    async def orphans(self) -> tuple[Orphan, ...]:
        """Return the machines that may be ours and that the store does not know."""
        found = await self.database.read(orphans.list_all)
        return tuple(
            describe_orphan(
                each.machine,
                first_seen_at=each.first_seen_at,
                last_seen_at=each.last_seen_at,
                is_foreign=not ids.is_ours(each.machine.name, self.deployment),
            )
            for each in found
        )

    async def adopt(self, novita_id: str, *, is_any_meant: bool = False) -> View:
        """Take an orphan in as an instance.

        ``is_any_meant``: or any other machine of the account that no row knows, whatever its name.
        Raises NotFound, ForeignMachine when the machine does not carry our mark and any was not
        meant, and NovitaError.
        """
        if is_any_meant:
            await record_orphan(self.novita, self.database, novita_id, self.clock())
        return await self._take_in(
            Adoption(
                novita_id,
                None if is_any_meant else self.deployment,
                lambda row: row,
                tracing.current_traceparent(),
            )
        )

    async def delete_orphan(self, novita_id: str) -> View:
        """Adopt an orphan and delete it, so that it is followed until it is gone.

        Raises NotFound, and ForeignMachine when it does not carry our mark.
        """

        def delete(row: Instance) -> Instance:
            return request_command(row, Command.DELETE, self.clock())

        return await self._take_in(
            Adoption(novita_id, self.deployment, delete, tracing.current_traceparent())
        )

    async def _take_in(self, adoption: Adoption) -> View:
        now = self.clock()
        change = await self.database.write(
            lambda connection: adopt_orphan(
                connection,
                adoption,
                now,
                deployment=self.deployment,
                random_bytes=self.random_bytes,
                limits=self.limits,
                seal=self.seal,
                outbox=self.outbox,
            )
        )
        self._tell(change)
        # The adoption itself is announced too.
        self.nudges.wake(LoopName.DELIVER)
        self.nudges.wake(LoopName.EVENTS)
        return await self._view(change.after)

    async def health(self, *, is_brief: bool = False) -> Health:
        """Return how the service is; what is brief counts nothing."""
        return await self.examine(is_brief)

    async def census(self) -> Census:
        """Return how many instances there are, what they cost, and what waits for the engine."""
        now = self.clock()
        return await self.database.read(lambda connection: take_census(connection, now))

    async def _refresh(self, instance: Instance) -> None:
        assert instance.machine.novita_id is not None
        try:
            async with limit_time(self.read_limit, self.novita):
                seen = await self.novita.get(instance.machine.novita_id)
        except NovitaNotFound:
            # One refresh may raise the question; the answer is left to the looks, which are apart.
            if not instance.watch.misses:
                await self._change(
                    instance.id,
                    lambda row: observations.suspect_missing(row, self.clock(), self.limits),
                )
            return
        await self._change(
            instance.id,
            lambda row: observations.observe(row, seen, self.clock(), self.limits, is_single=True),
        )

    async def _find(self, instance_id: str) -> Instance:
        return await self.database.read(lambda connection: _found(connection, instance_id))

    async def _find_with_looks(self, instance_id: str) -> tuple[Instance, facts.SweepState]:
        return await self.database.read_kept(
            ("instance", instance_id),
            lambda connection: (_found(connection, instance_id), facts.find_state(connection)),
        )

    async def _show(self, instance_id: str) -> View:
        found, looks = await self._find_with_looks(instance_id)
        return build_view(found, looks, self.clock(), patience=self.patience)

    async def _view(self, instance: Instance) -> View:
        looks = await self.database.read(facts.find_state)
        return build_view(instance, looks, self.clock(), patience=self.patience)

    async def _change(self, instance_id: str, fold: Callable[[Instance], Instance]) -> Instance:
        now = self.clock()
        change = await self.database.write(
            lambda connection: instances.change(
                connection,
                instance_id,
                lambda row: schedule(fold(row), now, self.limits),
                now,
                self.outbox,
            )
        )
        self._tell(change)
        return change.after

    def _tell(self, change: Change) -> None:
        self.nudges.changed([change])
        self.on_change(change)


def _found(connection: Connection, instance_id: str) -> Instance:
    found = instances.find(connection, instance_id)
    if found is None:
        raise NotFound(f"There is no instance '{instance_id}'.")
    return found
