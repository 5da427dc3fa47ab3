"""What is refused before Novita is asked to sell leaves nothing, and binds no key."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from gpukeeper.domain.errors import InvalidOrder, KeyReused
from gpukeeper.domain.instances import Order, Status
from gpukeeper.service import OrderFailed, OrderRefused, View
from gpukeeper.service.ordering import BuyerElsewhere
from tests.engine.rig import ORDER, Rig

DEAR = replace(ORDER, max_price_per_hour=Decimal("0.01"))
TYPO = replace(ORDER, product_name="RTX 9999")


async def rows(rig: Rig) -> int:
    page = await rig.service.instances(limit=9)
    return page.total


async def send(rig: Rig, order: Order, body: str = "body") -> View:
    return await rig.service.order(order, idempotency_key="key", body_hash=body)


def sell_nothing(rig: Rig) -> None:
    for product in list(rig.world.products.values()):
        rig.world.products[product.id] = replace(product, can_deploy=False)


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"product_name": "RTX 9999"}, "product_not_found"),
        ({"template_id": "nope"}, "template_not_found"),
        ({"region": "MARS-01"}, "region_not_found"),
        ({"rootfs_size_gb": 6000}, "out_of_stock"),
        ({"max_price_per_hour": Decimal("0.01")}, "price_above_limit"),
    ],
)
async def test_a_refusal_leaves_no_row_no_event_and_no_webhook(
    rig: Rig, changes: dict[str, Any], code: str, is_known: bool
) -> None:
    if is_known:
        await rig.order()
    before = (await rows(rig), len(await rig.delivery_statuses()))
    with pytest.raises((InvalidOrder, OrderRefused)) as refusal:
        await rig.service.order(replace(ORDER, **changes))
    assert refusal.value.error_code == code
    assert (await rows(rig), len(await rig.delivery_statuses())) == before
    assert rig.calls("create") == int(is_known)


async def test_a_process_that_only_takes_orders_refuses_as_well(rig: Rig) -> None:
    api = replace(rig.service.ordering, buyer=BuyerElsewhere())
    with pytest.raises(InvalidOrder):
        await api.place(TYPO)
    with pytest.raises(OrderRefused):
        await api.place(DEAR)
    assert await rows(rig) == 0


async def test_a_refusal_names_the_offers_that_were_looked_at(rig: Rig) -> None:
    with pytest.raises(OrderRefused) as refusal:
        await rig.service.order(DEAR)
    looked_at = [(each.product_id, each.outcome) for each in refusal.value.attempts]
    assert looked_at == [("4090.16c62g", "above_limit"), ("4090.16c96g.v2", "above_limit")]
    sell_nothing(rig)
    rig.clock.at += timedelta(minutes=1)
    with pytest.raises(OrderRefused) as refusal:
        await rig.service.order(ORDER)
    assert {each.outcome for each in refusal.value.attempts} == {"out_of_stock"}


async def test_a_key_is_free_after_a_refusal(rig: Rig) -> None:
    with pytest.raises(OrderRefused):
        await send(rig, DEAR)
    view = await send(rig, ORDER, "another body")
    assert rig.machines() == [view.instance.machine.novita_id]


async def test_a_key_gives_its_instance_although_nothing_is_for_sale_any_more(rig: Rig) -> None:
    first = await send(rig, ORDER)
    rig.clock.at += timedelta(minutes=2)
    sell_nothing(rig)
    again = await send(rig, ORDER)
    assert again.instance.id == first.instance.id
    with pytest.raises(KeyReused):
        await send(rig, TYPO, "another body")
    with pytest.raises(OrderRefused):
        await rig.service.order(ORDER)


async def test_equal_keys_at_once_are_refused_alike_or_give_one_machine(rig: Rig) -> None:
    refused = await asyncio.gather(*(send(rig, DEAR) for _ in range(4)), return_exceptions=True)
    assert {type(each) for each in refused} == {OrderRefused}
    views = await asyncio.gather(*(send(rig, ORDER) for _ in range(4)))
    assert len({view.instance.id for view in views}) == len(rig.machines()) == 1


async def test_nobody_is_refused_on_what_was_kept(rig: Rig) -> None:
    sell_nothing(rig)
    with pytest.raises(OrderRefused):
        await rig.service.order(ORDER)
    for product in list(rig.world.products.values()):
        rig.world.products[product.id] = replace(product, can_deploy=True)
    # A moment later: what was sold out is kept for 30 s.
    await rig.service.order(ORDER)
    assert len(rig.machines()) == 1


async def test_a_region_that_is_new_at_novita_is_found(rig: Rig) -> None:
    new = replace(rig.world.clusters["cn-hongkong-1"], id="new-1", name="NEW-01 (New)")
    with pytest.raises(InvalidOrder):
        await rig.service.order(replace(ORDER, region="NEW-01"))
    rig.world.clusters["new-1"] = new
    product = rig.world.products["4090.16c62g"]
    rig.world.products[product.id] = replace(product, stock={**product.stock, "new-1": None})
    view = await rig.service.order(replace(ORDER, region="NEW-01"))
    assert view.instance.machine.region == "NEW-01"


async def test_an_order_is_stored_when_novita_cannot_be_asked(rig: Rig) -> None:
    rig.fault("html", "products")
    with pytest.raises(OrderFailed) as failure:
        await rig.service.order(ORDER)
    assert failure.value.error_code == "novita_unavailable"
    assert (await rig.find(failure.value.instance.id)).status is Status.FAILED
    # It was asked for once, and not again by whoever buys.
    assert rig.calls("products") == 4


async def test_an_order_is_stored_when_novita_takes_too_long_to_say_what_it_sells(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, choose = asyncio.Event(), type(rig.service.market).choose

    async def hang(market: Any, order: Order) -> Any:
        await go_on.wait()
        return await choose(market, order)

    monkeypatch.setattr(type(rig.service.market), "choose", hang)
    impatient = replace(rig.service.ordering, patience=timedelta(0))
    row, is_new = await impatient.place(ORDER)
    assert (is_new, row.status, await rows(rig)) == (True, Status.REQUESTED, 1)
    go_on.set()
    await rig.engine.buyer.workers.drain(timedelta(minutes=1))
    assert rig.machines() == [(await rig.find(row.id)).machine.novita_id]


async def test_who_hangs_up_while_novita_is_asked_leaves_nothing_behind(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def hang(market: Any, order: Order) -> Any:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(type(rig.service.market), "choose", hang)
    order = asyncio.create_task(rig.service.order(ORDER))
    await asked.wait()
    order.cancel()
    with pytest.raises(asyncio.CancelledError):
        await order
    assert await rows(rig) == 0
    assert {each for each in asyncio.all_tasks() if "hang" in repr(each.get_coro())} == set()


async def test_a_refusal_is_counted(rig: Rig) -> None:
    codes: list[str] = []
    ordering = replace(rig.service.ordering, on_refusal=codes.append)
    for order in (TYPO, DEAR):
        with pytest.raises((InvalidOrder, OrderRefused)):
            await ordering.place(order)
    assert codes == ["product_not_found", "price_above_limit"]
