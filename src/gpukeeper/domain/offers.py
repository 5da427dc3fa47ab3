"""WHERE THE PRICE IS CHOSEN: which offers fit an order, and which of them is bought first.

An offer fits when it carries the product's exact name, is deployable, in stock and sold in the
wanted billing mode at a price above zero, has room for the disk, and is within the price limit.
The cheapest is bought first; at the same price the better stock, then the product id, decide.
"""

import difflib
from collections.abc import Iterable, Sequence
from decimal import Decimal

from gpukeeper.domain.costs import whole_dollars_per_hour
from gpukeeper.domain.errors import InvalidOrder, NothingForSale
from gpukeeper.domain.instances import Order
from gpukeeper.domain.products import BillingMode, Cluster, Offer, Product

# Novita's words for stock, best first; a product that says nothing stands before a low one.
_STOCK_ORDER = {"high": 0, "normal": 1, "": 2, "low": 3}
_SOLD_OUT = "none"

RegionProducts = Sequence[tuple[Cluster, Sequence[Product]]]


def rank(market: RegionProducts, order: Order, product_name: str) -> tuple[Offer, ...]:
    """Return the offers that fit, best first; the first region's before all others'.

    ``market`` holds the order's regions with their products; ``product_name`` is exact (see
    :func:`find_product_name`).  Raises NothingForSale when nothing fits, with what stood in the
    way.
    """
    first, *others = [
        _fitting(cluster, products, order, product_name) for cluster, products in market
    ]
    offers = _by_price(first) + _by_price(offer for region in others for offer in region)
    within = tuple(offer for offer in offers if _is_within_limit(offer, order))
    if within:
        return within
    limit = order.max_price_per_hour
    if offers and limit is not None:
        cheapest = min(offer.price_per_hour for offer in offers)
        raise NothingForSale(
            f"The cheapest offer of '{product_name}' costs {whole_dollars_per_hour(cheapest)} "
            f"per hour, above the limit of {whole_dollars_per_hour(limit)}.",
            code="price_above_limit",
            offers=offers,
        )
    raise NothingForSale(
        _why_nothing(market, order, product_name),
        offers=_by_price(
            _offer(product, cluster, order.billing_mode, order.gpu_num)
            for cluster, products in market
            for product in products
            if is_named(product, product_name)
            and is_sold_in(product, cluster)
            and _price(product, order.billing_mode) > 0
        ),
    )


def find_offer(products: Iterable[Product], offer: Offer) -> Offer | None:
    """Return the same offer as these products have it, None if it is not sold any more."""
    cluster = Cluster(offer.cluster_id, offer.region)
    for product in products:
        if product.id == offer.product_id and _is_sold(product, cluster, offer.billing_mode):
            return _offer(product, cluster, offer.billing_mode, offer.gpu_num)
    return None


def price_list(
    cluster: Cluster,
    products: Iterable[Product],
    *,
    billing_mode: BillingMode,
    gpu_num: int,
    rootfs_size_gb: int,
) -> tuple[Offer, ...]:
    """Return what one region sells in this billing mode with such a disk, cheapest first.

    So the first of a name is what an order of it would buy.
    """
    return _by_price(
        _offer(product, cluster, billing_mode, gpu_num)
        for product in products
        if _is_sold(product, cluster, billing_mode) and product.max_disk_gb >= rootfs_size_gb
    )


def find_product_name(wanted: str, names: Iterable[str]) -> str:
    """Return the one product name that is meant by ``wanted``.

    Case and spaces do not count.  A name that is equal wins; else the only name that contains
    ``wanted``.  Raises InvalidOrder (``product_not_found``) naming the candidates otherwise.
    """
    folded = {name: normalize_name(name) for name in sorted(set(names)) if name}
    needle = normalize_name(wanted)
    equal = [name for name, text in folded.items() if text == needle]
    if equal:
        return equal[0]
    containing = [name for name, text in folded.items() if needle and needle in text]
    if len(containing) == 1:
        return containing[0]
    if containing:
        listed = ", ".join(f"'{name}'" for name in containing)
        message = f"'{wanted}' could mean several products: {listed}. Name one of them."
        raise InvalidOrder(message, code="product_not_found")
    raise InvalidOrder(
        f"Novita has no product called '{wanted}'.{suggest_names(wanted, folded)}",
        code="product_not_found",
    )


def suggest_names(wanted: str, names: Iterable[str]) -> str:
    """Return a sentence (with a leading space) that offers similar names, or nothing."""
    by_text = {normalize_name(name): name for name in names}
    close = difflib.get_close_matches(normalize_name(wanted), by_text, n=3, cutoff=0.4)
    if not close:
        return ""
    return " Did you mean " + " or ".join(f"'{by_text[text]}'" for text in close) + "?"


def normalize_name(text: str) -> str:
    """Return the text without case and spaces, for comparing names."""
    return "".join(text.split()).casefold()


def is_named(product: Product, name: str) -> bool:
    """Whether the product carries exactly this name, case and spaces folded."""
    return normalize_name(product.name) == normalize_name(name)


def is_sold_in(product: Product, cluster: Cluster) -> bool:
    """Whether the product's own region list admits the cluster; an empty list admits all.

    Novita lists labelled names such as ``US-CA-06 (California)`` (API notes §3.7).
    """
    regions = {region.split(" ", 1)[0].casefold() for region in product.regions}
    return not regions or bool(regions & {cluster.region.casefold(), cluster.id.casefold()})


def _fitting(
    cluster: Cluster, products: Iterable[Product], order: Order, product_name: str
) -> list[Offer]:
    return [
        _offer(product, cluster, order.billing_mode, order.gpu_num)
        for product in products
        if is_named(product, product_name)
        and _is_sold(product, cluster, order.billing_mode)
        and product.max_disk_gb >= order.rootfs_size_gb
    ]


def _is_sold(product: Product, cluster: Cluster, billing_mode: BillingMode) -> bool:
    return (
        product.is_deployable
        and product.stock != _SOLD_OUT
        and is_sold_in(product, cluster)
        and (not product.billing_modes or billing_mode.value in product.billing_modes)
        and _price(product, billing_mode) > 0
    )


def _price(product: Product, billing_mode: BillingMode) -> Decimal:
    return product.spot_price if billing_mode is BillingMode.SPOT else product.price


def _offer(product: Product, cluster: Cluster, billing_mode: BillingMode, gpu_num: int) -> Offer:
    return Offer(
        product_id=product.id,
        product_name=product.name,
        cluster_id=cluster.id,
        region=cluster.region,
        billing_mode=billing_mode,
        gpu_num=gpu_num,
        price_per_hour=_price(product, billing_mode) * gpu_num,
        stock=product.stock,
        max_disk_gb=product.max_disk_gb,
    )


def _by_price(offers: Iterable[Offer]) -> tuple[Offer, ...]:
    return tuple(
        sorted(
            offers,
            key=lambda offer: (
                offer.price_per_hour,
                _STOCK_ORDER.get(offer.stock, _STOCK_ORDER[""]),
                offer.product_id,
                offer.region,
            ),
        )
    )


def _is_within_limit(offer: Offer, order: Order) -> bool:
    return order.max_price_per_hour is None or offer.price_per_hour <= order.max_price_per_hour


def _why_nothing(market: RegionProducts, order: Order, product_name: str) -> str:
    regions = ", ".join(cluster.region for cluster, _ in market)
    named = [
        product
        for cluster, products in market
        for product in products
        if is_named(product, product_name) and is_sold_in(product, cluster)
    ]
    what = f"'{product_name}' as {order.billing_mode.value} in {regions}"
    if not named:
        return f"Novita does not offer {what}."
    largest = max(product.max_disk_gb for product in named)
    if largest < order.rootfs_size_gb:
        return (
            f"{what}: the largest disk is {largest} GB, {order.rootfs_size_gb} GB were asked for."
        )
    return f"{what} is sold out."
