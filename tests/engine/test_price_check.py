"""The price at which a machine is bought is as old as is allowed, and not older."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from gpukeeper.domain.errors import NothingForSale, NovitaTimeout
from gpukeeper.domain.products import Offer
from gpukeeper.engine.price_check import ANSWERED_WITHIN, FRESH_FOR, Quote
from tests.domain.builders import NOW, offer
from tests.engine.rig import Clock

LIMIT = Decimal("0.18")
NOTHING = timedelta(0)


class Market:
    """Says prices, each after some time; ``asked`` counts how often."""

    def __init__(self, clock: Clock, price: str, takes: timedelta = NOTHING) -> None:
        self.clock, self.price, self.takes, self.asked = clock, price, takes, 0

    async def price_now(self, chosen: Offer) -> Offer:
        self.asked += 1
        self.clock.at += self.takes
        return replace(chosen, price_per_hour=Decimal(self.price))


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def quote(clock: Clock) -> Callable[[Market], Quote]:
    return lambda market: Quote(offer(), NOW, LIMIT, clock, market.price_now)


@pytest.mark.parametrize(
    ("passed", "has_waited", "asked"),
    [
        (NOTHING, False, 0),
        (FRESH_FOR, False, 0),
        (NOTHING, True, 1),
        (FRESH_FOR + timedelta(milliseconds=1), False, 1),
        # A clock that was set back proves nothing.
        (timedelta(seconds=-1), False, 1),
    ],
)
async def test_a_price_is_asked_for_again_unless_it_was_a_moment_ago(
    clock: Clock,
    quote: Callable[[Market], Quote],
    passed: timedelta,
    has_waited: bool,
    asked: int,
) -> None:
    market = Market(clock, "0.175")
    clock.at += passed
    await quote(market).confirm(has_waited)
    assert market.asked == asked


async def test_the_second_try_asks_however_soon_it_comes(
    clock: Clock, quote: Callable[[Market], Quote]
) -> None:
    market = Market(clock, "0.179")
    bought_at = quote(market)
    await bought_at.confirm(False)
    await bought_at.confirm(False)
    assert (market.asked, bought_at.offer.price_per_hour) == (1, Decimal("0.179"))


async def test_a_price_that_took_too_long_to_come_buys_nothing(
    clock: Clock, quote: Callable[[Market], Quote]
) -> None:
    with pytest.raises(NovitaTimeout):
        await quote(Market(clock, "0.1", ANSWERED_WITHIN + timedelta(seconds=1))).confirm(True)
    await quote(Market(clock, "0.1", ANSWERED_WITHIN)).confirm(True)


async def test_a_price_above_the_limit_says_both(
    clock: Clock, quote: Callable[[Market], Quote]
) -> None:
    words = r"costs \$0\.950 per hour now.*limit of \$0\.180"
    with pytest.raises(NothingForSale, match=words) as no:
        await quote(Market(clock, "0.95")).confirm(True)
    assert no.value.error_code == "price_above_limit"


async def test_without_a_limit_nothing_is_asked(clock: Clock) -> None:
    market = Market(clock, "0.95")
    await Quote(offer(), None, None, clock, market.price_now).confirm(True)
    assert market.asked == 0
