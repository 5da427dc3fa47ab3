"""The bodies of answers as the OpenAPI document describes them; nothing is validated with them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from gpukeeper.domain.events import DeliveryStatus, EventType
from gpukeeper.domain.instances import Status
from gpukeeper.domain.products import BillingMode

Money = Annotated[
    str, Field(pattern=r"^[0-9]+(\.[0-9]+)?$", description="US dollars per hour, all GPUs.")
]


class Answer(BaseModel):
    """What all bodies have in common: names in camelCase."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True)


class Reason(Answer):
    """Why an instance is in its status."""

    code: str
    message: str


class Endpoint(Answer):
    """Where a port of a running machine is reached; `url` is `host:port` for tcp."""

    port: int
    type: str
    url: str


class Attempt(Answer):
    """One try to buy an offer; `outcome` is `accepted` or the code of the refusal."""

    product_id: str
    region: str
    price_per_hour: Money
    outcome: str
    detail: str | None
    at: datetime


class CostPerHour(Answer):
    """What an instance costs now: its GPUs while they are on, and its disk above 60 GB."""

    gpu_usd: Money
    disk_usd: Money


class Instance(Answer):
    """One GPU machine that was ordered here."""

    id: str
    novita_id: str | None
    name: str
    status: Status
    reason: Reason | None
    product_name: str
    product_id: str | None
    region: str
    cluster_id: str | None
    template_id: str
    image_url: str | None
    gpu_num: int
    rootfs_size: Annotated[int, Field(description="GB")]
    billing_mode: BillingMode
    price_per_hour: Annotated[
        Money | None, Field(description="What Novita shows, or what the machine was bought for.")
    ]
    max_price_per_hour: Annotated[
        Money | None, Field(description="The order's limit; above it, Novita has raised the price.")
    ]
    cost_per_hour: CostPerHour
    currency: Literal["USD"]
    labels: dict[str, str]
    endpoints: list[Endpoint]
    ssh_command: Annotated[str | None, Field(description="Without the password.")]
    created_at: datetime
    started_at: datetime | None
    running_at: datetime | None
    deleted_at: datetime | None
    reclaim_at: Annotated[
        datetime | None, Field(description="When Novita takes a spot machine back.")
    ]
    is_billing: Annotated[
        bool, Field(description="Whether a machine may exist at Novita that costs money.")
    ]
    surplus_machines: Annotated[
        list[str],
        Field(
            description="Novita's ids of machines that this order bought beside the one it "
            "keeps, since answers were lost; they are being deleted."
        ),
    ]
    novita_status: Annotated[str | None, Field(description="Novita's own word.")]
    observed_at: Annotated[
        datetime | None, Field(description="When Novita was last seen to agree with this.")
    ]
    stale: Annotated[
        bool, Field(description="Whether the last look that should have happened did not succeed.")
    ]
    attempts: list[Attempt]


class InstanceList(Answer):
    """A page of instances, newest first."""

    instances: list[Instance]
    total: Annotated[int, Field(description="How many there are on all pages.")]
    next_cursor: Annotated[str | None, Field(description="Asks for the next page.")]


class Event(Answer):
    """One thing that happened; `data` is what webhooks carry."""

    id: str
    type: EventType
    timestamp: datetime
    data: dict[str, Any]


class EventList(Answer):
    """An instance's history, oldest first."""

    events: list[Event]


class Connection(Answer):
    """How to reach a running machine."""

    endpoints: list[Endpoint]
    ssh_command: str
    ssh_password: str


class Offer(Answer):
    """A product in one region at one price and billing mode."""

    product_id: str
    product_name: str
    region: str
    cluster_id: str
    billing_mode: BillingMode
    gpu_num: int
    price_per_hour: Money
    currency: Literal["USD"]
    stock: Annotated[str, Field(description="Novita's own word.")]
    max_rootfs_size: Annotated[int, Field(description="The largest disk in GB.")]


class OfferList(Answer):
    """What is for sale, cheapest first."""

    offers: list[Offer]


class Template(Answer):
    """What gives a new machine its image, ports, environment and command."""

    id: str
    name: str
    image_url: str


class TemplateList(Answer):
    """The templates that an order can name."""

    templates: list[Template]


class Region(Answer):
    """One of Novita's regions."""

    name: str
    cluster_id: str


class RegionList(Answer):
    """The regions that an order can name."""

    regions: list[Region]


class DeliveryAttempt(Answer):
    """One try to deliver: what the receiver answered, or what went wrong."""

    number: int
    at: datetime
    duration_ms: int
    response_status: int | None
    error: str | None
    answer: Annotated[str, Field(description="The beginning of the receiver's answer, 1 kB.")]


class Delivery(Answer):
    """The duty to tell one URL of one event."""

    id: str
    event_id: str
    event_type: EventType
    instance_id: str | None
    url: str
    status: DeliveryStatus
    attempt_count: int
    attempts: Annotated[
        list[DeliveryAttempt], Field(description="Listings leave them out: the list is empty.")
    ]
    created_at: datetime
    next_attempt_at: datetime | None
    finished_at: datetime | None


class DeliveryList(Answer):
    """A page of deliveries, newest first."""

    deliveries: list[Delivery]
    next_cursor: Annotated[str | None, Field(description="Asks for the next page.")]


class TestDeliveries(Answer):
    """The deliveries of a test event, one per URL."""

    deliveries: list[Delivery]


class Orphan(Answer):
    """A machine at Novita that may be ours and that the store does not know."""

    novita_id: str
    name: str
    novita_status: str
    product_name: str
    region: str
    price_per_hour: Money | None
    cost_per_hour: CostPerHour
    currency: Literal["USD"]
    created_at: datetime | None
    first_seen_at: datetime
    last_seen_at: datetime
    is_foreign: Annotated[
        bool,
        Field(description="It carries another mark than ours and is older than the store."),
    ]


class OrphanList(Answer):
    """The machines at Novita that nobody here ordered."""

    orphans: list[Orphan]


class Live(Answer):
    """The process answers."""

    status: Literal["live"]


class Ready(Answer):
    """Whether the service can serve and its loops are alive; `problems` names what is not."""

    status: Literal["ready", "not ready"]
    problems: list[str]


class Health(Answer):
    """A summary for people and dashboards."""

    model_config = ConfigDict(extra="allow")

    status: Literal["ready", "not ready"]
    problems: list[str]


class FieldFault(Answer):
    """One thing wrong with one field."""

    field: Annotated[str, Field(description="Such as `gpuNum`, `ports[1]`, `envs.PATH`.")]
    message: Annotated[str, Field(description="Continues the field's name.")]


class Problem(Answer):
    """Why a request did not succeed (RFC 9457)."""

    type: Annotated[str, Field(description="Identifies the kind; leads to its description.")]
    title: str
    status: int
    detail: str
    instance: Annotated[str, Field(description="The path that was asked for.")]
    code: Annotated[str, Field(description="The stable word to branch on.")]
    request_id: str
    errors: Annotated[list[FieldFault], Field(description="With `invalid_request`.")] = []
    instance_id: Annotated[
        str, Field(description="With an order that failed: the instance that keeps the history.")
    ] = ""
    attempts: Annotated[
        list[Attempt], Field(description="With an order that failed: every try to buy.")
    ] = []
    novita_reason: Annotated[str, Field(description="Novita's own word for its refusal.")] = ""
