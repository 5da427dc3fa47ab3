"""The bodies about what an order can name: offers, templates, regions."""

from dataclasses import dataclass
from typing import Annotated, Literal

from gpukeeper.contract.serialization import AlwaysSent, Body, Money, OneOf
from gpukeeper.domain import products as domain


@dataclass(frozen=True, kw_only=True)
class Offer(Body):
    """A product in one region at one price and billing mode."""

    product_id: str
    product_name: str = ""
    region: str = ""
    cluster_id: str = ""
    billing_mode: Annotated[str, OneOf(domain.BillingMode)] = ""
    gpu_num: int = 1
    price_per_hour: AlwaysSent[Money] = None
    currency: Annotated[str, OneOf(Literal["USD"])] = "USD"
    stock: str = ""
    """Novita's own word."""
    max_rootfs_size: AlwaysSent[int] = None
    """The largest disk in GB."""


@dataclass(frozen=True)
class OfferList(Body):
    """What is for sale, cheapest first."""

    offers: tuple[Offer, ...]


@dataclass(frozen=True)
class Template(Body):
    """What gives a new machine its image, ports, environment and command."""

    id: str
    name: str = ""
    image_url: str = ""


@dataclass(frozen=True)
class TemplateList(Body):
    """The templates that an order can name."""

    templates: tuple[Template, ...]


@dataclass(frozen=True)
class Region(Body):
    """One of Novita's regions."""

    name: str
    cluster_id: str = ""


@dataclass(frozen=True)
class RegionList(Body):
    """The regions that an order can name."""

    regions: tuple[Region, ...]


def describe_offer(offer: domain.Offer) -> Offer:
    """Return an offer as clients see it."""
    return Offer(
        product_id=offer.product_id,
        product_name=offer.product_name,
        region=offer.region,
        cluster_id=offer.cluster_id,
        billing_mode=offer.billing_mode,
        gpu_num=offer.gpu_num,
        price_per_hour=offer.price_per_hour,
        currency="USD",
        stock=offer.stock,
        max_rootfs_size=offer.max_disk_gb,
    )
