"""Prices that move: by themselves, with every call for products, or as scripted."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random

from gpukeeper.simulator.market.product_stock import Product, draw_wave
from gpukeeper.simulator.simulator_settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceChange:
    """New prices of one product, from after the next ``after_calls`` calls for products on."""

    product_id: str
    price: int | None = None
    spot_price: int | None = None
    after_calls: int = 0


@dataclass(slots=True)
class Prices:
    """The part of prices that depends on calls for products, and scripted changes.

    ``shown`` keeps when which price was shown, by product and whether it is the spot price.
    """

    calls: int = 0
    waiting: list[tuple[int, PriceChange]] = field(default_factory=list)
    shown: dict[tuple[str, bool], list[tuple[datetime, int]]] = field(default_factory=dict)

    def current_price(
        self, product: Product, *, is_spot: bool, at: datetime, settings: Settings
    ) -> int:
        """Return the price per GPU and hour in 1e-5 USD."""
        price = product.spot_price if is_spot else product.price
        percent = draw_wave(settings, product.id, at, settings.price_wave_percent)
        if settings.price_step_percent:
            step = Random(f"{settings.seed}/{product.id}/call {self.calls}")  # noqa: S311  # a draw
            percent += step.uniform(-settings.price_step_percent, settings.price_step_percent)
        return max(round(price * (1 + percent / 100)), min(price, 1))

    def sale_price(
        self, product: Product, *, is_spot: bool, at: datetime, settings: Settings
    ) -> int:
        """Return the price of a machine that is sold now: one that was shown lately is honoured."""
        since = at - timedelta(seconds=settings.price_honoured_seconds)
        shown = self.shown.get((product.id, is_spot), []) if settings.price_honoured_seconds else []
        now = self.current_price(product, is_spot=is_spot, at=at, settings=settings)
        return min([now, *(price for when, price in shown if when >= since)])

    def begin_call(self) -> None:
        """Count a call for products, before its response."""
        self.calls += 1

    def record_shown(self, product: Product, at: datetime, settings: Settings) -> None:
        """Keep the shown prices of a product, for as long as they are honoured."""
        if not settings.price_honoured_seconds:
            return
        since = at - timedelta(seconds=settings.price_honoured_seconds)
        for is_spot in (False, True):
            price = self.current_price(product, is_spot=is_spot, at=at, settings=settings)
            shown = self.shown.setdefault((product.id, is_spot), [])
            shown[:] = [*(each for each in shown if each[0] >= since), (at, price)]

    def plan(self, change: PriceChange) -> None:
        """Keep a change until so many calls have had their response."""
        self.waiting.append((self.calls + change.after_calls, change))

    def take_due(self) -> list[PriceChange]:
        """Return the changes whose calls have come, and forget them."""
        due = [change for at_call, change in self.waiting if at_call <= self.calls]
        self.waiting = [each for each in self.waiting if each[0] > self.calls]
        return due


def apply_price_change(product: Product, change: PriceChange) -> Product:
    """Return the product with its new prices."""
    return replace(
        product,
        price=product.price if change.price is None else change.price,
        spot_price=product.spot_price if change.spot_price is None else change.spot_price,
    )
