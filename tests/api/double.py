"""A stand-in for the use cases: the same methods over dictionaries, and faults on request."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from gpukeeper.contract.orphans import Orphan
from gpukeeper.domain.deliveries import DeliveryStatus
from gpukeeper.domain.errors import Fault, GpuKeeperError, InvalidOrder, KeyReused, NotFound
from gpukeeper.domain.events import Event, EventType
from gpukeeper.domain.instances import Command, Instance, Order, Status
from gpukeeper.domain.lifecycle.commands import request_command
from gpukeeper.domain.machines import ConnectionDetails
from gpukeeper.domain.products import BillingMode, Cluster, Offer, Template
from gpukeeper.service import Census, DeliveryView, Health, Page, Queues, View
from gpukeeper.service.feed import Feed
from tests.api.samples import ATTEMPTS, DELIVERY, EVENT, NOW, OFFER, ORPHAN, RUNNING
from tests.instances import edit


@dataclass
class ServiceDouble:
    """Keeps its rows in memory; ``fault`` is raised by whatever is asked next."""

    rows: dict[str, Instance] = field(default_factory=lambda: {RUNNING.id: RUNNING})
    sent: dict[str, DeliveryView] = field(
        default_factory=lambda: {DELIVERY.id: DeliveryView(DELIVERY, ATTEMPTS)}
    )
    strays: dict[str, Orphan] = field(default_factory=lambda: {ORPHAN.novita_id: ORPHAN})
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    is_novita_silent: bool = False
    is_ready: bool = True
    examined: list[bool] = field(default_factory=list)
    fault: Exception | None = None
    feed: Feed | None = None

    async def order(
        self, order: Order, *, idempotency_key: str | None = None, body_hash: str = ""
    ) -> View:
        """Accept every order at once, or leave it open while Novita is silent."""
        self._fail()
        if idempotency_key is not None:
            instance_id, known_hash = self.keys.get(idempotency_key, ("", body_hash))
            if known_hash != body_hash:
                raise KeyReused
            if instance_id:
                return self._view(self.rows[instance_id])
        self.orders.append(order)
        placed = replace(RUNNING, id=f"ins_{len(self.rows) + 1}", order=order)
        if self.is_novita_silent:
            placed = edit(
                placed, status=Status.REQUESTED, novita_id=None, novita_status=None, attempts=()
            )
        self.rows[placed.id] = placed
        if idempotency_key is not None:
            self.keys[idempotency_key] = (placed.id, body_hash)
        return self._view(placed)

    async def instance(self, instance_id: str, *, refresh: bool = False) -> View:
        """Return a row by either id."""
        self.asked.append({"instance_id": instance_id, "refresh": refresh})
        self._fail()
        return self._view(self._find(instance_id))

    async def instances(
        self,
        *,
        statuses: Collection[Status],
        is_current: bool,
        name: str | None,
        limit: int,
        cursor: str | None,
    ) -> Page:
        """Return the rows that match."""
        self.asked.append(
            {
                "statuses": list(statuses),
                "is_current": is_current,
                "name": name,
                "limit": limit,
                "cursor": cursor,
            }
        )
        self._fail()
        if cursor == "bad":
            raise InvalidOrder(faults=[Fault("cursor", "is not a cursor that was given")])
        rows = [
            row
            for row in self.rows.values()
            if row.status in (statuses or Status) and (name or "") in row.order.name
        ]
        following = "next" if len(rows) > limit else None
        return Page(tuple(map(self._view, rows[:limit])), len(rows), following)

    async def events(self, instance_id: str) -> tuple[Event, ...]:
        """Return the one event there is."""
        self._find(instance_id)
        return (EVENT,)

    async def connection(self, instance_id: str) -> ConnectionDetails:
        """Return the way to a row's machine."""
        self._fail()
        row = self._find(instance_id)
        return ConnectionDetails(row.machine.endpoints, str(row.machine.ssh_command), "s3same")

    async def want(self, instance_id: str, verb: Command) -> View:
        """Store a wish as the real service does."""
        row = request_command(self._find(instance_id), verb, NOW)
        self.rows[row.id] = row
        return self._view(row)

    async def offers(
        self,
        *,
        product_name: str | None,
        region: str | None,
        billing_mode: BillingMode,
        gpu_num: int,
        rootfs_size_gb: int,
    ) -> tuple[Offer, ...]:
        """Return the one offer there is."""
        self.asked.append(
            {
                "product_name": product_name,
                "region": region,
                "billing_mode": billing_mode,
                "gpu_num": gpu_num,
                "rootfs_size_gb": rootfs_size_gb,
            }
        )
        self._fail()
        return (OFFER,)

    async def templates(self) -> tuple[Template, ...]:
        """Return the one template there is."""
        self._fail()
        return (
            Template("tpl-basic", "Basic", "docker.io/acme/worker:1.4", envs={"KEY": "s3same"}),
        )

    async def regions(self) -> tuple[Cluster, ...]:
        """Return the one region there is."""
        self._fail()
        return (Cluster("us-ca-6", "US-CA-06 (California)"),)

    async def deliveries(
        self,
        *,
        status: DeliveryStatus | None,
        instance_id: str | None,
        limit: int,
        cursor: str | None,
    ) -> tuple[tuple[DeliveryView, ...], str | None]:
        """Return the deliveries that match, without their attempts."""
        self.asked.append({"status": status, "instance_id": instance_id, "limit": limit})
        found = [
            replace(view, attempts=())
            for view in self.sent.values()
            if status in (None, view.delivery.status)
        ]
        return tuple(found[:limit]), cursor

    async def delivery(self, delivery_id: str) -> DeliveryView:
        """Return a delivery."""
        if delivery_id not in self.sent:
            raise NotFound(f"There is no delivery '{delivery_id}'.", code="delivery_not_found")
        return self.sent[delivery_id]

    async def redeliver(self, delivery_id: str) -> DeliveryView:
        """Make a delivery due again."""
        view = await self.delivery(delivery_id)
        delivery = replace(
            view.delivery, status=DeliveryStatus.PENDING, due_at=NOW, finished_at=None
        )
        self.sent[delivery_id] = replace(view, delivery=delivery)
        return self.sent[delivery_id]

    async def send_test(self) -> tuple[DeliveryView, ...]:
        """Return a delivery of a test event."""
        self._fail()
        event = Event("evt_2", EventType.TEST, None, NOW, {})
        delivery = replace(DELIVERY, id="dlv_2", event=event, status=DeliveryStatus.PENDING)
        return (DeliveryView(delivery, ()),)

    async def orphans(self) -> tuple[Orphan, ...]:
        """Return the orphans."""
        return tuple(self.strays.values())

    async def adopt(self, novita_id: str, *, is_any_meant: bool = False) -> View:
        """Turn an orphan into a row."""
        if self.strays.pop(novita_id, None) is None:
            raise NotFound(f"There is no orphan '{novita_id}'.")
        row = edit(RUNNING, id="ins_9", novita_id=novita_id)
        self.rows[row.id] = row
        return self._view(row)

    async def delete_orphan(self, novita_id: str) -> View:
        """Adopt and delete."""
        adopted = await self.adopt(novita_id)
        return await self.want(adopted.instance.id, Command.DELETE)

    async def census(self) -> Census:
        queues = Queues(3, {"instances": 0.0, "deliveries": 12.5})
        return Census({Status.RUNNING: 2}, Decimal("0.35"), orphans=1, queues=queues)

    async def health(self, *, is_brief: bool = False) -> Health:
        """Return how the double is."""
        self._fail()
        self.examined.append(is_brief)
        problems: Sequence[str] = () if self.is_ready else ("the sweep loop has ended",)
        return Health(self.is_ready, tuple(problems), {"novita": {"reachable": True}})

    def _find(self, instance_id: str) -> Instance:
        for row in self.rows.values():
            if instance_id in (row.id, row.machine.novita_id):
                return row
        raise NotFound(f"There is no instance '{instance_id}'.")

    def _view(self, row: Instance) -> View:
        return View(row, row.watch.observed_at, is_stale=self.is_novita_silent)

    def _fail(self) -> None:
        if self.fault is not None:
            raise self.fault


def failed(code: str, message: str = "It did not work.") -> GpuKeeperError:
    """Return an error of a code, for those that need no data."""
    return GpuKeeperError(message, code=code)
