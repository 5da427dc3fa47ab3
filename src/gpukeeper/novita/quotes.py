"""What an order can buy now: its regions' products, its exact product name, and its template."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from gpukeeper.domain import offers
from gpukeeper.domain.errors import (
    InvalidOrder,
    NothingForSale,
    NovitaError,
    NovitaUnavailable,
    OutOfStock,
)
from gpukeeper.domain.instances import Order
from gpukeeper.domain.products import BillingMode, Cluster, Offer, Product, Template
from gpukeeper.novita.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Quotation:
    """The offers that fit an order, best first, and its template.

    ``priced_at`` is when Novita was asked for the prices; None: they may be kept ones.
    """

    offers: tuple[Offer, ...]
    template: Template
    priced_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Quotes:
    """Asks Novita's catalog on behalf of orders; ``default_region`` serves those without one."""

    catalog: Catalog
    default_region: str

    async def get_ready(self) -> None:
        """Ask for the regions, which change rarely, so that the first order need not wait."""
        with suppress(NovitaError):
            # If it fails, whoever needs them asks again, and is told why.
            await self.catalog.clusters()

    async def choose(self, order: Order) -> Quotation:
        """Return what an order can buy.

        With a price limit, prices are asked for anew; and no order is refused on what was kept.
        Raises InvalidOrder for an unknown product, template or region, NothingForSale when
        nothing fits, and NovitaError when Novita cannot be asked.
        """
        is_limited = order.max_price_per_hour is not None
        was_kept = {
            "region_not_found": self.catalog.keeps_clusters,
            "template_not_found": False,
        }
        keeps_products = self.catalog.keeps_products and not is_limited
        try:
            return await self._choose(order, afresh=is_limited)
        except (InvalidOrder, NothingForSale) as error:
            if not was_kept.get(error.error_code, keeps_products):
                raise
            self.catalog.forget()
            return await self._choose(order, afresh=is_limited)

    async def price_now(self, offer: Offer) -> Offer:
        """Return an offer as it is sold now, for whoever has a turn to ask Novita.

        Raises OutOfStock when it is not sold any more, and NovitaError.
        """
        products = await self.catalog.products_in_turn(
            cluster_id=offer.cluster_id, billing_mode=offer.billing_mode, gpu_num=offer.gpu_num
        )
        found = offers.find_offer(products, offer)
        if found is None:
            raise OutOfStock(f"Novita does not list {offer.product_id} in {offer.region} any more.")
        return found

    def known(self, order: Order) -> Quotation | None:
        """Return what an order can buy, if Novita need not be asked and does not stand to refuse.

        What an order with a price limit can buy is never known.
        """
        if order.max_price_per_hour is not None:
            return None
        template = self.catalog.known_template(order.template_id)
        market = [
            (cluster, products)
            for name in self._names(order)
            if (cluster := self.catalog.known_cluster(name)) is not None
            and (
                products := self.catalog.known_products(
                    cluster_id=cluster.id, billing_mode=order.billing_mode, gpu_num=order.gpu_num
                )
            )
            is not None
        ]
        if template is None or len(market) < len(self._names(order)):
            return None
        name = _equal_name(order.product_name, [each for _, found in market for each in found])
        if name is None:
            return None
        try:
            return Quotation(offers.rank(market, order, name), template)
        except NothingForSale:
            return None

    async def price_list(
        self,
        *,
        product_name: str | None,
        region: str | None,
        billing_mode: BillingMode,
        gpu_num: int,
        rootfs_size_gb: int,
    ) -> tuple[Offer, ...]:
        """Return what one region sells, cheapest first.  Raises as :meth:`offers` does."""
        cluster = await self.catalog.cluster(region or self.default_region)
        products = await self.catalog.products(
            cluster_id=cluster.id, billing_mode=billing_mode, gpu_num=gpu_num
        )
        if product_name is not None:
            name = await self._name(product_name, products, billing_mode, gpu_num)
            products = tuple(product for product in products if offers.is_named(product, name))
        return offers.price_list(
            cluster,
            products,
            billing_mode=billing_mode,
            gpu_num=gpu_num,
            rootfs_size_gb=rootfs_size_gb,
        )

    async def elsewhere(
        self, *, region: str | None, billing_mode: BillingMode, gpu_num: int, rootfs_size_gb: int
    ) -> tuple[Offer, ...]:
        """Return what all other regions sell, cheapest first, from one question to Novita.

        Its answer names the regions of a product, but the best stock of them only.
        """
        home = await self.catalog.cluster(region or self.default_region)
        products = await self.catalog.products(
            cluster_id=None, billing_mode=billing_mode, gpu_num=gpu_num
        )
        listed = [
            offer
            for cluster in await self.catalog.clusters()
            if cluster.id != home.id
            for offer in offers.price_list(
                cluster,
                products,
                billing_mode=billing_mode,
                gpu_num=gpu_num,
                rootfs_size_gb=rootfs_size_gb,
            )
        ]
        return tuple(sorted(listed, key=lambda offer: (offer.price_per_hour, offer.region)))

    def forget(self) -> None:
        """Ask Novita anew next time: what it said of its stock was wrong."""
        self.catalog.forget_products()

    def _names(self, order: Order) -> tuple[str, ...]:
        """Return the regions to buy in, the first choice first."""
        return tuple(dict.fromkeys([order.region or self.default_region, *order.regions]))

    async def _choose(self, order: Order, *, afresh: bool) -> Quotation:
        priced_at = self.catalog.now() if afresh else None
        found, template = await asyncio.gather(
            self._offers(order, afresh=afresh), self.catalog.template(order.template_id)
        )
        return Quotation(found, template, priced_at)

    async def _offers(self, order: Order, *, afresh: bool) -> tuple[Offer, ...]:
        market = await self._regions(order, afresh=afresh)
        name = await self._find_name(order, market)
        return offers.rank(market, order, name)

    async def _regions(
        self, order: Order, *, afresh: bool
    ) -> list[tuple[Cluster, Sequence[Product]]]:
        clusters = [await self.catalog.cluster(name) for name in self._names(order)]
        asked = [
            self.catalog.products(
                cluster_id=cluster.id,
                billing_mode=order.billing_mode,
                gpu_num=order.gpu_num,
                afresh=afresh,
            )
            for cluster in clusters
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        if isinstance(answers[0], BaseException):
            raise answers[0]
        # A further region that cannot be asked sells nothing now; the first one still does.
        return [
            (cluster, [] if isinstance(answer, NovitaUnavailable) else _unless_raised(answer))
            for cluster, answer in zip(clusters, answers, strict=True)
        ]

    async def _find_name(
        self, order: Order, market: Sequence[tuple[Cluster, Sequence[Product]]]
    ) -> str:
        products = [product for _, products in market for product in products]
        return await self._name(order.product_name, products, order.billing_mode, order.gpu_num)

    async def _name(
        self,
        wanted: str,
        products: Sequence[Product],
        billing_mode: BillingMode,
        gpu_num: int,
    ) -> str:
        """Return the exact name; every product of Novita's is asked for only if none is equal."""
        equal = _equal_name(wanted, products)
        if equal is not None:
            return equal
        everywhere = await self.catalog.products(
            cluster_id=None, billing_mode=billing_mode, gpu_num=gpu_num
        )
        if not products and not everywhere:
            # Who sells nothing at all, anywhere, is not Novita: no order is refused for that.
            raise NovitaUnavailable("Novita's list of everything that it sells is empty.")
        return offers.find_product_name(wanted, [p.name for p in (*products, *everywhere)])


def _equal_name(wanted: str, products: Sequence[Product]) -> str | None:
    return next((each.name for each in products if offers.is_named(each, wanted)), None)


def _unless_raised(answer: tuple[Product, ...] | BaseException) -> tuple[Product, ...]:
    if isinstance(answer, BaseException):
        raise answer
    return answer
