"""The price at which a machine is about to be bought, which Novita does not hold for anybody."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from gpukeeper.domain.costs import whole_dollars_per_hour
from gpukeeper.domain.errors import NothingForSale, NovitaTimeout
from gpukeeper.domain.products import Offer

# A price that was asked for so lately, by the same order and with nothing to wait for since, is
# what Novita asks now; whatever is older is asked for again.
FRESH_FOR = timedelta(seconds=2)
# An answer that took longer than this says what the price was, not what it is.
ANSWERED_WITHIN = timedelta(seconds=10)


@dataclass(slots=True)
class Quote:
    """An offer and when its price was asked for (None: it may be a kept one).

    A purchase with a ``limit`` is sent only after :meth:`confirm`, so at a price that is at most
    as old as the longer of these two times.
    """

    offer: Offer
    priced_at: datetime | None
    limit: Decimal | None
    clock: Callable[[], datetime]
    price_now: Callable[[Offer], Awaitable[Offer]]

    async def confirm(self, has_waited: bool) -> None:
        """Ask for the price again unless it was asked for a moment ago; once it holds, go on.

        Raises NothingForSale when it is above the limit, OutOfStock, and NovitaError.
        """
        if self.limit is None:
            return
        asked_at = self.clock()
        priced_at, self.priced_at = self.priced_at, None
        is_fresh = priced_at is not None and timedelta(0) <= asked_at - priced_at <= FRESH_FOR
        if is_fresh and not has_waited:
            return
        self.offer = await self.price_now(self.offer)
        if self.clock() - asked_at > ANSWERED_WITHIN:
            raise NovitaTimeout("Novita took too long to say its price: nothing was bought at it.")
        if self.offer.price_per_hour > self.limit:
            price = whole_dollars_per_hour(self.offer.price_per_hour)
            raise NothingForSale(
                f"{self.offer.product_id} in {self.offer.region} costs {price} per hour now, "
                f"above the limit of {whole_dollars_per_hour(self.limit)}.",
                code="price_above_limit",
                offers=[self.offer],
            )
