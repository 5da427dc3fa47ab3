"""A limit holds when the machine is bought, and what Novita shows afterwards is taken over."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from gpukeeper.domain.instances import Command, Status
from gpukeeper.service import OrderFailed, OrderRefused
from gpukeeper.simulator.market.price_changes import PriceChange
from tests.engine.rig import ORDER, Rig

CHEAPEST, SECOND = "4090.16c62g", "4090.16c96g.v2"
LIMIT = Decimal("0.18")
DEAR = 95000


def raise_price(rig: Rig, after_calls: int, product_id: str = CHEAPEST, price: int = DEAR) -> None:
    """Let a price rise, after so many more calls for products."""
    rig.world.prices.plan(
        PriceChange(product_id=product_id, spot_price=price, after_calls=after_calls)
    )


def hold_back_creates(rig: Rig, *, times: int = 1, seconds: float = 5) -> None:
    """Let Novita say, once the order has chosen, that it takes no purchase for a while."""
    rig.fault("rate-limit", "create", times=times, retry_after=seconds)


def sold_for(rig: Rig) -> list[Decimal]:
    return [Decimal(each.sold_at_price) / 100_000 for each in rig.world.bills()]


async def outcomes(rig: Rig, error: OrderFailed) -> list[str]:
    row = await rig.find(error.instance.id)
    return [attempt.outcome for attempt in row.purchase.attempts]


async def test_a_price_that_was_kept_does_not_pass_the_limit(rig: Rig) -> None:
    await rig.order()
    raise_price(rig, 0)
    raise_price(rig, 0, SECOND)
    with pytest.raises(OrderRefused) as refusal:
        await rig.order(max_price_per_hour=LIMIT)
    assert refusal.value.error_code == "price_above_limit"
    assert len(rig.machines()) == 1


async def test_a_price_that_rises_while_a_create_waits_is_asked_for_again(rig: Rig) -> None:
    hold_back_creates(rig)
    raise_price(rig, 1)
    raise_price(rig, 1, SECOND)
    with pytest.raises(OrderFailed) as failure:
        await rig.order(max_price_per_hour=LIMIT)
    assert failure.value.error_code == "price_above_limit"
    assert await outcomes(rig, failure.value) == ["above_limit"]
    assert rig.machines() == []


async def test_the_next_offer_is_bought_when_the_first_has_become_too_dear(rig: Rig) -> None:
    hold_back_creates(rig)
    raise_price(rig, 1)
    ordered = await rig.order(max_price_per_hour=Decimal("0.2"))
    assert ordered.machine.product_id == SECOND
    assert [attempt.outcome for attempt in ordered.purchase.attempts] == ["above_limit", "accepted"]
    assert sold_for(rig) == [Decimal("0.185")]


async def test_an_offer_that_is_not_listed_any_more_is_passed_over(rig: Rig) -> None:
    hold_back_creates(rig)
    raise_price(rig, 1, price=0)
    ordered = await rig.order(max_price_per_hour=Decimal("0.2"))
    assert [attempt.outcome for attempt in ordered.purchase.attempts] == [
        "out_of_stock",
        "accepted",
    ]


async def test_the_price_at_which_a_machine_is_bought_is_the_one_that_is_stored(rig: Rig) -> None:
    hold_back_creates(rig)
    raise_price(rig, 1, price=17900)
    ordered = await rig.order(max_price_per_hour=LIMIT)
    assert ordered.machine.price_per_hour == Decimal("0.179") == sold_for(rig)[0]


async def test_every_try_of_a_create_asks_for_the_price_again(rig: Rig) -> None:
    hold_back_creates(rig, times=2, seconds=1)
    await rig.order(max_price_per_hour=LIMIT)
    # One to choose by, and one before each try but the first, which follows at once.
    assert (rig.calls("products"), rig.calls("create")) == (3, 3)


async def test_a_price_that_could_not_be_asked_for_buys_nothing(rig: Rig) -> None:
    hold_back_creates(rig)
    rig.fault("html", "products", after=1)
    with pytest.raises(OrderFailed) as failure:
        await rig.order(max_price_per_hour=LIMIT)
    assert failure.value.error_code == "novita_unavailable"
    assert rig.machines() == []


async def test_an_order_without_a_limit_asks_for_no_price_again(rig: Rig) -> None:
    await rig.order()
    hold_back_creates(rig)
    before = rig.calls("products")
    await rig.order()
    assert rig.calls("products") == before


@pytest.mark.parametrize("percent", [5.0, 50.0])
async def test_no_machine_is_sold_above_its_limit_while_prices_move_at_every_call(
    rig: Rig, percent: float
) -> None:
    rig.switch(price_step_percent=percent)
    refusals = set()
    for number in range(40):
        if number % 3 == 0:
            hold_back_creates(rig, seconds=3)
        try:
            await rig.order(max_price_per_hour=LIMIT)
        except (OrderFailed, OrderRefused) as error:
            refusals.add(error.error_code)
        rig.world.faults.clear()
    assert refusals <= {"price_above_limit"}
    assert max(sold_for(rig)) <= LIMIT


async def test_what_novita_shows_is_the_price_and_above_the_limit_it_is_told_once(
    rig: Rig,
) -> None:
    running = await rig.running(max_price_per_hour=LIMIT)
    rig.console(running, "reprice", price=DEAR)
    await rig.advance(minutes=3)
    dear = await rig.find(running.id)
    assert (dear.machine.price_per_hour, dear.status) == (Decimal("0.95"), Status.RUNNING)
    assert (await rig.history(running.id))[-1] == "price_above_limit"
    assert (await rig.service.census()).spend_per_hour == Decimal("0.95")
    told = [body for _, _, body in rig.receiver.bodies if b"instance.price_above_limit" in body]
    assert len(told) == 1
    rig.console(running, "reprice", price=17500)
    await rig.advance(minutes=2)
    assert (await rig.history(running.id))[-1] == "price_changed"
    assert await rig.broken() == []


async def test_a_machine_that_is_started_again_at_another_price_is_told_of(rig: Rig) -> None:
    rig.switch(machine_price="start")
    running = await rig.running(max_price_per_hour=LIMIT)
    await rig.service.want(running.id, Command.STOP)
    await rig.advance(minutes=2)
    raise_price(rig, 0)
    await rig.service.want(running.id, Command.START)
    await rig.advance(minutes=3)
    assert "price_above_limit" in await rig.history(running.id)
    assert (await rig.find(running.id)).machine.price_per_hour == Decimal("0.95")


@pytest.mark.parametrize("price", [0, -5, 10**9])
async def test_a_price_that_makes_no_sense_is_not_taken_over(rig: Rig, price: int) -> None:
    running = await rig.running(max_price_per_hour=LIMIT)
    rig.console(running, "reprice", price=price)
    await rig.advance(minutes=2)
    assert (await rig.find(running.id)).machine.price_per_hour == Decimal("0.175")


async def test_a_price_that_rises_between_the_question_and_the_sale_is_told(rig: Rig) -> None:
    # Novita's own answer to the create takes it: nobody can look in between.
    raise_price(rig, 1)
    ordered = await rig.order(max_price_per_hour=LIMIT)
    await rig.advance(minutes=2)
    found = await rig.find(ordered.id)
    assert found.machine.price_per_hour == Decimal("0.95") == sold_for(rig)[0]
    assert "price_above_limit" in await rig.history(ordered.id)


def limited(**changes: Any) -> Any:
    return replace(ORDER, max_price_per_hour=LIMIT, **changes)


async def test_equal_keys_with_a_limit_give_one_machine(rig: Rig) -> None:
    first = await rig.service.order(limited(), idempotency_key="k", body_hash="b")
    raise_price(rig, 0)
    raise_price(rig, 0, SECOND)
    # What was ordered stays ordered, whatever is for sale now.
    again = await rig.service.order(limited(), idempotency_key="k", body_hash="b")
    assert again.instance.id == first.instance.id
    assert len(rig.machines()) == 1
