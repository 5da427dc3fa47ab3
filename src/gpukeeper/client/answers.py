"""What the service answers, as typed values.

Each value keeps the JSON that it was read from in ``raw``.  Unknown fields are passed over and
missing ones are ``None`` or empty, so that a client and a service of different versions get on.
A ``status`` is text: one of :class:`~gpukeeper.domain.instances.Status`, or newer than this client.
Times are aware UTC datetimes, money is :class:`~decimal.Decimal` US dollars per hour.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Generic, TypeVar

from gpukeeper.domain.instances import Attempt, Endpoint, Reason

Json = dict[str, Any]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Some of a list; ``next_cursor`` asks for what follows and is None at the end."""

    items: tuple[Item, ...]
    raw: Json = field(repr=False)
    total: int | None = None
    next_cursor: str | None = None


@dataclass(frozen=True, slots=True)
class InstanceInfo:
    """One GPU machine; prices are for all its GPUs together.

    ``gpu_usd_per_hour`` and ``disk_usd_per_hour`` are what it costs now.
    """

    id: str
    name: str
    status: str
    raw: Json = field(repr=False)
    reason: Reason | None
    novita_id: str | None
    novita_status: str | None
    product_name: str
    product_id: str | None
    region: str
    cluster_id: str | None
    template_id: str
    image_url: str | None
    gpu_num: int
    rootfs_size_gb: int
    billing_mode: str
    price_per_hour: Decimal | None
    max_price_per_hour: Decimal | None
    gpu_usd_per_hour: Decimal | None
    disk_usd_per_hour: Decimal | None
    is_billing: bool
    labels: Mapping[str, str]
    endpoints: tuple[Endpoint, ...]
    ssh_command: str | None
    attempts: tuple[Attempt, ...]
    created_at: datetime | None
    started_at: datetime | None
    running_at: datetime | None
    deleted_at: datetime | None
    reclaim_at: datetime | None
    observed_at: datetime | None
    is_stale: bool

    @property
    def is_above_limit(self) -> bool:
        """Whether its machine costs more than its order allows."""
        limit, price = self.max_price_per_hour, self.price_per_hour
        return self.is_billing and limit is not None and price is not None and price > limit


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """How to reach a running machine, with its password."""

    endpoints: tuple[Endpoint, ...]
    ssh_command: str
    ssh_password: str = field(repr=False)
    raw: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class OfferInfo:
    """A product in one region; the price is for all GPUs that were asked for."""

    product_id: str
    product_name: str
    region: str
    cluster_id: str
    billing_mode: str
    gpu_num: int
    price_per_hour: Decimal | None
    stock: str
    max_rootfs_size: int | None
    raw: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class TemplateInfo:
    """What gives a new machine its image, ports, environment and command."""

    id: str
    name: str
    image_url: str
    raw: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class RegionInfo:
    """One of Novita's regions, by the name that orders give."""

    name: str
    cluster_id: str
    raw: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class EventInfo:
    """One thing that happened; ``position`` is where following goes on after it.

    ``instance`` is how the instance was then; None for events about no instance.
    """

    id: str
    type: str
    at: datetime | None
    status: str | None
    previous_status: str | None
    error: Reason | None
    instance: InstanceInfo | None = field(repr=False)
    raw: Json = field(repr=False)
    position: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveryAttemptInfo:
    """One try to deliver; ``answer`` is the beginning of what the receiver said."""

    number: int
    at: datetime | None
    duration: timedelta | None
    response_status: int | None
    error: str | None
    answer: str


@dataclass(frozen=True, slots=True)
class DeliveryInfo:
    """The duty to tell one URL of one event; listings leave the attempts out."""

    id: str
    status: str
    url: str
    event_id: str
    event_type: str
    instance_id: str | None
    attempt_count: int
    attempts: tuple[DeliveryAttemptInfo, ...]
    created_at: datetime | None
    next_attempt_at: datetime | None
    finished_at: datetime | None
    raw: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class OrphanInfo:
    """A machine at Novita that may be ours and that the service's store does not know.

    One that ``is_foreign`` carries another mark than the service's.
    """

    novita_id: str
    name: str
    novita_status: str
    product_name: str
    region: str
    price_per_hour: Decimal | None
    gpu_usd_per_hour: Decimal | None
    disk_usd_per_hour: Decimal | None
    created_at: datetime | None
    first_seen_at: datetime | None
    last_seen_at: datetime | None
    raw: Json = field(repr=False)
    is_foreign: bool = False


@dataclass(frozen=True, slots=True)
class HealthInfo:
    """Whether the service is able to serve, and what is not alive if it is not."""

    is_ready: bool
    problems: tuple[str, ...]
    raw: Json = field(repr=False)
