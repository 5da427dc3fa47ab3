"""Rows, offers and observations for the tests of the domain, each with one thing to say."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import settings

from gpukeeper.domain.instances import Attempt, DesiredState, Instance, Order, Status
from gpukeeper.domain.lifecycle.transitions import Limits
from gpukeeper.domain.machines import Observation, Phase
from gpukeeper.domain.products import BillingMode, Cluster, Offer, Port, Product, Template
from tests.instances import build, edit

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
LIMITS = Limits()

# A busy machine makes an example slow, not wrong; and every run tries the same examples.
REPEATABLE = settings(deadline=None, derandomize=True)

ORDER = Order("trainer", "RTX 4090 24GB", "tpl-basic", region="CN-HK-01")
ON_DEMAND = replace(ORDER, billing_mode=BillingMode.ON_DEMAND)
HONG_KONG = Cluster("cn-hongkong-1", "CN-HK-01")
TEMPLATE = Template(
    "tpl-basic",
    "Basic",
    "docker.io/acme/worker:1.4",
    command="serve",
    ports=(Port(8000, "http"),),
    envs={"MODE": "fast", "REGION": "hk"},
)

WORDS = {
    Phase.PREPARING: "creating",
    Phase.STARTING: "pulling",
    Phase.UP: "running",
    Phase.GOING_DOWN: "stopping",
    Phase.DOWN: "exited",
    Phase.GOING: "removing",
    Phase.GONE: "removed",
    Phase.UNKNOWN: "hibernating",
}

_DESIRED = {
    Status.STOPPING: DesiredState.STOPPED,
    Status.STOPPED: DesiredState.STOPPED,
    Status.DELETING: DesiredState.DELETED,
    Status.DELETED: DesiredState.DELETED,
}
_PHASES = {
    Status.STARTING: Phase.STARTING,
    Status.RUNNING: Phase.UP,
    Status.STOPPING: Phase.UP,
    Status.STOPPED: Phase.DOWN,
    Status.DELETING: Phase.UP,
    Status.FAILED: Phase.STARTING,
    Status.RECLAIMED: Phase.DOWN,
}
_ACCEPTED_AT = NOW - 5 * MINUTE


def offer(product_id: str = "4090.a", region: str = "CN-HK-01", **changes: Any) -> Offer:
    """Return an offer of the product that is ordered."""
    cheap = Offer(
        product_id=product_id,
        product_name="RTX 4090 24GB",
        cluster_id=region.lower(),
        region=region,
        billing_mode=BillingMode.SPOT,
        gpu_num=1,
        price_per_hour=Decimal("0.175"),
        stock="normal",
        max_disk_gb=1024,
    )
    return replace(cheap, **changes)


def product(product_id: str = "4090.a", **changes: Any) -> Product:
    """Return a product of the name that is ordered, which can be bought in every way."""
    usual = Product(
        id=product_id,
        name="RTX 4090 24GB",
        price=Decimal("0.35"),
        spot_price=Decimal("0.175"),
        is_deployable=True,
        stock="normal",
        min_disk_gb=10,
        max_disk_gb=1024,
    )
    return replace(usual, **changes)


def requested(**changes: Any) -> Instance:
    """Return an order of this moment that nobody has looked at yet."""
    placed = build(
        id="ins_1",
        novita_name="trainer-gkabcd12345678",
        order=ORDER,
        status=Status.REQUESTED,
        desired_state=DesiredState.RUNNING,
        created_at=NOW,
        deadline_at=NOW + 10 * MINUTE,
    )
    return edit(placed, **changes)


def instance(status: Status, **changes: Any) -> Instance:
    """Return an instance in a status, with a machine that Novita sold five minutes ago."""
    usual = requested(
        status=status,
        desired_state=_DESIRED.get(status, DesiredState.RUNNING),
        phase=_PHASES.get(status),
        novita_id="m1",
        created_at=_ACCEPTED_AT,
        accepted_at=_ACCEPTED_AT,
        started_at=_ACCEPTED_AT,
        deadline_at=_ACCEPTED_AT + 10 * MINUTE,
    )
    return edit(usual, **changes)


def seen(phase: Phase, **changes: Any) -> Observation:
    """Return what Novita says at this moment of the machine of :func:`instance`."""
    usual = Observation("m1", "trainer-gkabcd12345678", WORDS[phase], phase, NOW)
    return replace(usual, **changes)


def attempt(outcome: str, product_id: str = "4090.a", region: str = "CN-HK-01") -> Attempt:
    """Return a try to buy an offer."""
    return Attempt(product_id, region, Decimal("0.175"), outcome, None, NOW)
