"""The bodies about instances (contract §4.3)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from gpukeeper.contract.serialization import AlwaysSent, Body, Money, OneOf, Rate, Time
from gpukeeper.domain import costs, machines
from gpukeeper.domain import instances as domain
from gpukeeper.domain.products import BillingMode


@dataclass(frozen=True)
class Reason(Body):
    """Why an instance is in its status."""

    code: str = ""
    message: str = ""


@dataclass(frozen=True)
class Endpoint(Body):
    """Where a port of a running machine is reached; `url` is `host:port` for tcp."""

    port: int
    type: str = ""
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Attempt(Body):
    """One try to buy an offer; `outcome` is `accepted` or the code of the refusal."""

    product_id: str = ""
    region: str = ""
    price_per_hour: Money
    outcome: str
    detail: str | None = None
    at: Time


@dataclass(frozen=True)
class CostPerHour(Body):
    """What an instance costs now: its GPUs while they are on, and its disk above 60 GB."""

    gpu_usd: AlwaysSent[Rate] = None
    disk_usd: AlwaysSent[Rate] = None


class HasCost:
    """What an instance and an orphan share: the parts of their cost, as values of their own."""

    cost_per_hour: CostPerHour | None

    @property
    def gpu_usd_per_hour(self) -> Decimal | None:
        """Return what the GPUs cost now; None where an older service does not say."""
        return None if self.cost_per_hour is None else self.cost_per_hour.gpu_usd

    @property
    def disk_usd_per_hour(self) -> Decimal | None:
        """Return what the disk costs now; None where an older service does not say."""
        return None if self.cost_per_hour is None else self.cost_per_hour.disk_usd


@dataclass(frozen=True, kw_only=True)
class Instance(Body, HasCost):
    """One GPU machine that was ordered here."""

    id: str
    novita_id: str | None = None
    name: str = ""
    status: Annotated[str, OneOf(domain.Status)]
    reason: Reason | None = None
    product_name: str = ""
    product_id: str | None = None
    region: str = ""
    cluster_id: str | None = None
    template_id: str = ""
    image_url: str | None = None
    gpu_num: int = 1
    rootfs_size_gb: int = 0
    """GB"""
    billing_mode: Annotated[str, OneOf(BillingMode)] = ""
    price_per_hour: Money | None = None
    """What Novita shows, or what the machine was bought for."""
    max_price_per_hour: Money | None = None
    """The order's limit; above it, Novita has raised the price."""
    cost_per_hour: AlwaysSent[CostPerHour] = None
    currency: Annotated[str, OneOf(Literal["USD"])] = "USD"
    labels: Mapping[str, str] = field(default_factory=dict)
    endpoints: tuple[Endpoint, ...] = ()
    ssh_command: str | None = None
    """Without the password."""
    created_at: AlwaysSent[Time] = None
    started_at: Time | None = None
    running_at: Time | None = None
    deleted_at: Time | None = None
    reclaim_at: Time | None = None
    """When Novita takes a spot machine back."""
    is_billing: bool = False
    """Whether a machine may exist at Novita that costs money."""
    surplus_machines: tuple[str, ...] = ()
    """Novita's ids of machines that this order bought beside the one it keeps, since answers
    were lost; they are being deleted."""
    novita_status: str | None = None
    """Novita's own word."""
    observed_at: Time | None = None
    """When Novita was last seen to agree with this."""
    is_stale: bool = False
    """Whether the last look that should have happened did not succeed."""
    attempts: tuple[Attempt, ...] = ()

    @property
    def is_above_limit(self) -> bool:
        """Whether its machine costs more than its order allows."""
        limit, price = self.max_price_per_hour, self.price_per_hour
        return self.is_billing and limit is not None and price is not None and price > limit


@dataclass(frozen=True)
class InstanceList(Body):
    """A page of instances, newest first."""

    instances: tuple[Instance, ...]
    total: int
    """How many there are on all pages."""
    next_cursor: str | None
    """Asks for the next page."""


@dataclass(frozen=True)
class Connection(Body):
    """How to reach a running machine."""

    endpoints: tuple[Endpoint, ...] = ()
    ssh_command: str = ""
    ssh_password: str = field(default="", repr=False)


def describe_instance(
    instance: domain.Instance, *, observed_at: datetime | None = None, is_stale: bool = False
) -> Instance:
    """Return the instance as clients see it, free of secrets.

    ``observed_at`` says when Novita was last seen to agree with the row, where that is later
    than the row's last change.
    """
    order, reason = instance.order, instance.reason
    return Instance(
        id=instance.id,
        novita_id=instance.machine.novita_id,
        name=order.name,
        status=instance.status,
        reason=describe_reason(reason),
        product_name=instance.machine.product_name or order.product_name,
        product_id=instance.machine.product_id,
        region=instance.machine.region or order.region,
        cluster_id=instance.machine.cluster_id,
        template_id=order.template_id,
        image_url=instance.machine.image_url,
        gpu_num=order.gpu_num,
        rootfs_size_gb=order.rootfs_size_gb,
        billing_mode=order.billing_mode,
        price_per_hour=instance.machine.price_per_hour,
        max_price_per_hour=order.max_price_per_hour,
        cost_per_hour=describe_cost(costs.rate_of(instance)),
        currency="USD",
        labels=order.labels,
        endpoints=describe_endpoints(instance.machine.endpoints),
        ssh_command=instance.machine.ssh_command,
        created_at=instance.created_at,
        started_at=instance.started_at,
        running_at=instance.running_at,
        deleted_at=instance.deleted_at,
        reclaim_at=instance.machine.reclaim_at,
        is_billing=instance.may_be_billed,
        surplus_machines=instance.duplicate_ids,
        novita_status=instance.machine.novita_status,
        observed_at=observed_at or instance.watch.observed_at,
        is_stale=is_stale,
        attempts=describe_attempts(instance.purchase.attempts),
    )


def describe_connection(found: machines.ConnectionDetails) -> Connection:
    """Return how a machine is reached, with its password."""
    return Connection(describe_endpoints(found.endpoints), found.ssh_command, found.ssh_password)


def describe_reason(reason: domain.Reason | None) -> Reason | None:
    """Return a reason without what is for us alone."""
    return Reason(reason.code, reason.message) if reason else None


def describe_cost(rate: costs.Rate) -> CostPerHour:
    """Return what something costs now."""
    return CostPerHour(gpu_usd=rate.gpu, disk_usd=rate.disk)


def describe_endpoints(endpoints: Iterable[machines.Endpoint]) -> tuple[Endpoint, ...]:
    """Return where the ports of a machine are reached."""
    return tuple(Endpoint(each.port, each.type, each.url) for each in endpoints)


def describe_attempts(attempts: Iterable[domain.Attempt]) -> tuple[Attempt, ...]:
    """Return what was tried, or looked at."""
    return tuple(
        Attempt(
            product_id=each.product_id,
            region=each.region,
            price_per_hour=each.price_per_hour,
            outcome=each.outcome,
            detail=each.detail,
            at=each.at,
        )
        for each in attempts
    )
