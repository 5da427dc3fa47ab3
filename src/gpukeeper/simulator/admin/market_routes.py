"""The admin routes of the market: catalogue, stock, prices and balance."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TypeVar

from starlette.exceptions import HTTPException

from gpukeeper.simulator.admin import world_views
from gpukeeper.simulator.admin.admin_route import AdminRequest, RouteRow, as_list
from gpukeeper.simulator.json_codec import BadInput, apply_changes, decode
from gpukeeper.simulator.market.price_changes import PriceChange
from gpukeeper.simulator.market.product_stock import Product
from gpukeeper.simulator.market.sample_catalogue import Credential, Template
from gpukeeper.simulator.simulated_world import World

Item = TypeVar("Item", Product, Template, Credential)


@dataclass(frozen=True, slots=True, kw_only=True)
class StockChange:
    """What one cluster has of one product, and what `availableDeploy` says instead of it."""

    product_id: str
    cluster_id: str
    stock: int | None = None
    shown: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceChange:
    """How many US dollars are to be available."""

    usd: float


def _change_stock(world: World, asked: AdminRequest) -> object:
    for body in as_list(asked.body):
        change = decode(StockChange, body)
        product = world.products.get(change.product_id)
        if product is None or change.cluster_id not in world.clusters:
            raise BadInput("product_id, cluster_id: both must exist")
        stock, shown = dict(product.stock), dict(product.shown)
        if "stock" in body:
            stock[change.cluster_id] = change.stock
        if change.shown is not None:
            shown[change.cluster_id] = change.shown
        elif "shown" in body:
            shown.pop(change.cluster_id, None)
        world.products[product.id] = replace(product, stock=stock, shown=shown)
    return world_views.describe_stock(world)


def _change_prices(world: World, asked: AdminRequest) -> object:
    for body in as_list(asked.body):
        change = decode(PriceChange, body)
        if change.product_id not in world.products:
            raise BadInput("product_id: it must exist")
        world.prices.plan(change)
    world.settle()
    return [
        {
            "product_id": product.id,
            "price": world.price(product, is_spot=False),
            "spot_price": world.price(product, is_spot=True),
        }
        for product in world.products.values()
    ]


def _change_balance(world: World, asked: AdminRequest) -> object:
    world.set_balance(Decimal(str(decode(BalanceChange, asked.body).usd)))
    return {"usd": world.balance()}


def _catalogue(kind: type[Item], items: Callable[[World], dict[str, Item]]) -> list[RouteRow]:
    """Return the routes to read, replace, change and remove one kind of thing in the catalogue."""
    word = f"{kind.__name__.lower()}s" if kind is not Credential else "auths"
    path, one = f"/{word}", f"/{word}/{{item_id}}"

    def show_all(world: World, _: AdminRequest) -> object:
        return list(items(world).values())

    def replace_all(world: World, asked: AdminRequest) -> object:
        new = [decode(kind, body) for body in as_list(asked.body)]
        items(world).clear()
        items(world).update({item.id: item for item in new})
        return new

    def change(world: World, asked: AdminRequest) -> object:
        if not isinstance(asked.body, dict):
            raise BadInput("a JSON object is wanted")
        item_id = asked.path["item_id"]
        old, body = items(world).get(item_id), {**asked.body, "id": item_id}
        items(world)[item_id] = decode(kind, body) if old is None else apply_changes(old, body)
        return items(world)[item_id]

    def remove(world: World, asked: AdminRequest) -> object:
        if items(world).pop(asked.path["item_id"], None) is None:
            raise HTTPException(404, "no such thing")
        return show_all(world, asked)

    return [
        ("GET", path, f"the {word}", show_all),
        ("PUT", path, f"replace all {word} by a list", replace_all),
        ("PATCH", one, "change some fields of one, or add it", change),
        ("DELETE", one, "remove one", remove),
    ]


MARKET_ROUTES: tuple[RouteRow, ...] = (
    ("GET", "/stock", "the true stock", lambda world, _: world_views.describe_stock(world)),
    ("PUT", "/stock", "change it, and what is shown (one or a list)", _change_stock),
    (
        "PUT",
        "/prices",
        "change prices, now or `after_calls` more calls for products (one or a list)",
        _change_prices,
    ),
    *_catalogue(Product, lambda world: world.products),
    *_catalogue(Template, lambda world: world.templates),
    *_catalogue(Credential, lambda world: world.credentials),
    ("GET", "/balance", "what is available", lambda world, _: {"usd": world.balance()}),
    ("PUT", "/balance", "make `usd` available", _change_balance),
)
