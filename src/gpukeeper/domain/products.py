"""The nouns of Novita's market: what it sells where, and what it is told when a machine is bought.

Money is :class:`~decimal.Decimal` US dollars.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum


class BillingMode(StrEnum):
    """How Novita bills a machine."""

    SPOT = "spot"
    ON_DEMAND = "onDemand"


@dataclass(frozen=True, slots=True)
class Port:
    """One port of the container, ``http`` (with a public address) or ``tcp``."""

    number: int
    protocol: str

    def __str__(self) -> str:
        return f"{self.number}/{self.protocol}"


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool of Novita's (Jupyter, …) that a template asks for; ``port`` is text at Novita."""

    name: str
    port: str
    type: str


@dataclass(frozen=True, slots=True)
class Template:
    """What a Novita template gives to a new machine.

    ``image_auth_id`` may also be the credentials themselves, so it is not shown either.
    """

    id: str
    name: str
    image_url: str
    image_auth_id: str = field(default="", repr=False)
    command: str = ""
    ports: tuple[Port, ...] = ()
    envs: Mapping[str, str] = field(default_factory=dict, repr=False)
    tools: tuple[Tool, ...] = ()
    min_cuda_version: str = ""


@dataclass(frozen=True, slots=True)
class Cluster:
    """One of Novita's regions; ``name`` may carry a label: ``US-CA-06 (California)``."""

    id: str
    name: str

    @property
    def region(self) -> str:
        """The name without its label, as people write it: ``US-CA-06``."""
        return self.name.split(" ", 1)[0] or self.id


@dataclass(frozen=True, slots=True)
class Product:
    """A kind of machine as Novita lists it for one cluster; prices are USD per GPU and hour."""

    id: str
    name: str
    price: Decimal
    spot_price: Decimal
    is_deployable: bool
    stock: str
    min_disk_gb: int
    max_disk_gb: int
    regions: tuple[str, ...] = ()
    billing_modes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """A product in one region at one price (USD per hour, all GPUs) and billing mode."""

    product_id: str
    product_name: str
    cluster_id: str
    region: str
    billing_mode: BillingMode
    gpu_num: int
    price_per_hour: Decimal
    stock: str
    max_disk_gb: int


@dataclass(frozen=True, slots=True)
class PurchaseRequest:
    """Everything that Novita is told when a machine is bought."""

    name: str
    offer: Offer
    template: Template
    rootfs_size_gb: int
    envs: Mapping[str, str] = field(repr=False)
    ports: tuple[Port, ...] = ()
    command: str = ""
