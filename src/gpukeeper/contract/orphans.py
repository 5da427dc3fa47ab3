"""The bodies about machines at Novita that may be ours and that the store does not know."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from gpukeeper.contract.instances import CostPerHour, HasCost, describe_cost
from gpukeeper.contract.serialization import AlwaysSent, Body, Money, OneOf, Time
from gpukeeper.domain.costs import rate_of_orphan
from gpukeeper.domain.machines import Observation


@dataclass(frozen=True, kw_only=True)
class Orphan(Body, HasCost):
    """A machine at Novita that may be ours and that the store does not know."""

    novita_id: str
    name: str = ""
    novita_status: str = ""
    product_name: str = ""
    region: str = ""
    price_per_hour: Money | None = None
    cost_per_hour: AlwaysSent[CostPerHour] = None
    currency: Annotated[str, OneOf(Literal["USD"])] = "USD"
    created_at: Time | None = None
    first_seen_at: AlwaysSent[Time] = None
    last_seen_at: AlwaysSent[Time] = None
    is_foreign: bool = False
    """It carries another mark than ours and is older than the store."""


@dataclass(frozen=True)
class OrphanList(Body):
    """The machines at Novita that nobody here ordered."""

    orphans: tuple[Orphan, ...]


def describe_orphan(
    machine: Observation, *, first_seen_at: datetime, last_seen_at: datetime, is_foreign: bool
) -> Orphan:
    """Return an orphan as clients see it; an exited one costs its disk alone."""
    return Orphan(
        novita_id=machine.novita_id,
        name=machine.name,
        novita_status=machine.word,
        product_name=machine.product_name,
        region=machine.region,
        price_per_hour=machine.price_per_hour,
        cost_per_hour=describe_cost(rate_of_orphan(machine)),
        currency="USD",
        created_at=machine.created_at,
        first_seen_at=first_seen_at,
        last_seen_at=last_seen_at,
        is_foreign=is_foreign,
    )
