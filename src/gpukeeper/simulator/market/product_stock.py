"""Products and clusters, their stock and prices, and Novita's words for them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

from gpukeeper.simulator.simulator_settings import Settings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Cluster:
    """One region; ``name`` carries its label, as Novita writes it."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A kind of machine; prices are 1e-5 USD per GPU and hour, a ``spot_price`` of 0 is no offer.

    ``stock`` is the number of GPUs that a cluster has of it, ``null`` for plenty; a cluster that
    is not named does not sell it.  ``shown`` overrides what ``availableDeploy`` says there.
    """

    id: str
    name: str
    price: int
    spot_price: int = 0
    cpu: int = 16
    memory_gb: int = 62
    disk_gb: int = 60
    min_rootfs_gb: int = 10
    max_rootfs_gb: int = 1024
    billing_modes: tuple[str, ...] = ("onDemand", "monthly", "spot")
    can_deploy: bool = True
    stock: Mapping[str, int | None] = field(default_factory=dict)
    shown: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stock:
    """The stock that one cluster has left of one product; ``free`` is ``None`` for plenty."""

    product_id: str
    cluster_id: str
    total: int | None
    held: int
    free: int | None


def compute_stock(
    product: Product, cluster_id: str, *, held: int, at: datetime, settings: Settings
) -> Stock:
    """Return the true stock at ``at``, of which ``held`` GPUs are taken."""
    total = product.stock.get(cluster_id, 0)
    if total is None:
        return Stock(product.id, cluster_id, None, held, None)
    moved = total + round(
        draw_wave(settings, f"{product.id}/{cluster_id}", at, settings.stock_wave_gpus)
    )
    return Stock(product.id, cluster_id, total, held, max(0, moved - held))


def can_sell(product: Product, stock: Stock, gpu_num: int) -> bool:
    """Say whether ``gpu_num`` GPUs can really be had."""
    return product.can_deploy and (stock.free is None or stock.free >= gpu_num)


def is_shown_available(product: Product, stock: Stock, gpu_num: int, *, settings: Settings) -> bool:
    """Return the ``availableDeploy`` that is shown, true or not."""
    override = product.shown.get(stock.cluster_id)
    if override is not None:
        return override
    if settings.stock_shown != "true":
        return settings.stock_shown == "always"
    return can_sell(product, stock, gpu_num)


def inventory_word(stock: Stock) -> str:
    """Return Novita's word for how much is left."""
    if stock.free is None or stock.free > 16:
        return "high"
    if stock.free > 4:
        return "normal"
    return "low" if stock.free > 0 else "none"


def draw_wave(settings: Settings, key: str, at: datetime, height: float) -> float:
    """Return a number between ±``height`` that depends on nothing but the seed and the time."""
    if not height:
        return 0.0
    step = int((at - _EPOCH).total_seconds() // settings.wave_seconds)
    return Random(f"{settings.seed}/{key}/{step}").uniform(-height, height)  # noqa: S311  # a draw, no secret
