"""Prices that move: with every call, by a script, and of machines that were sold long ago."""

from decimal import Decimal
from typing import Any

import pytest

from tests.simulator.simulator_driver import Novita

PRODUCT = "4090.16c62g"


async def spot_price(novita: Novita) -> int:
    answer = await novita.fetch("/products", billingMethod="spot")
    return int(next(each for each in answer.json()["data"] if each["id"] == PRODUCT)["spotPrice"])


async def row_price(novita: Novita, machine_id: str) -> str:
    return str((await novita.get(machine_id))["instancePrice"])


async def test_prices_move_with_every_call_when_they_are_told_to() -> None:
    novita = Novita(price_step_percent=50)
    seen = [await spot_price(novita) for _ in range(4)]
    assert len(set(seen)) == 4
    assert all(8750 <= price <= 26250 for price in seen)
    again = Novita(price_step_percent=50)
    assert [await spot_price(again) for _ in range(4)] == seen


async def test_a_price_rises_after_so_many_calls_for_products() -> None:
    novita = Novita()
    change = {"product_id": PRODUCT, "spot_price": 95000, "after_calls": 1}
    await novita.sim("PUT", "/prices", change)
    assert await spot_price(novita) == 17500
    machine_id = await novita.create()
    assert await row_price(novita, machine_id) == "95000"
    assert await spot_price(novita) == 95000


async def test_a_script_for_an_unknown_product_is_refused() -> None:
    novita = Novita()
    answer = await novita.http.put("/_sim/prices", json={"product_id": "none", "price": 1})
    assert answer.status_code == 400
    shown = await novita.sim("PUT", "/prices", {"product_id": PRODUCT, "price": 70000})
    assert {"product_id": PRODUCT, "price": 70000, "spot_price": 17500} in shown


async def test_a_lower_price_that_was_shown_lately_is_kept_to() -> None:
    novita = Novita(price_honoured_seconds=10)
    assert await spot_price(novita) == 17500
    await novita.sim("PUT", "/prices", {"product_id": PRODUCT, "spot_price": 95000})
    await novita.advance(10)
    assert await row_price(novita, await novita.create()) == "17500"
    await novita.advance(1)
    assert await row_price(novita, await novita.create()) == "95000"


@pytest.mark.parametrize(
    ("kind", "prices"),
    [
        ("fixed", ["17500", "17500"]),
        ("start", ["17500", "95000"]),
        ("market", ["95000", "95000"]),
    ],
)
async def test_a_machine_costs_what_it_was_sold_for_or_follows_the_market(
    kind: Any, prices: list[str]
) -> None:
    novita = Novita(machine_price=kind)
    machine_id = await novita.running()
    await novita.sim("PUT", "/prices", {"product_id": PRODUCT, "spot_price": 95000})
    seen = [await row_price(novita, machine_id)]
    await novita.verb("stop", machine_id)
    await novita.advance(3)
    await novita.verb("start", machine_id)
    seen.append(await row_price(novita, machine_id))
    assert seen == prices
    assert (await novita.bill(machine_id))["sold_at_price"] == 17500


async def test_each_second_is_billed_at_the_price_of_its_time() -> None:
    novita = Novita()
    machine_id = await novita.running()
    before = Decimal((await novita.bill(machine_id))["gpu_usd"])
    await novita.act(machine_id, "reprice", price=35000)
    await novita.act(machine_id, "reprice", price=35000)
    await novita.advance(3600)
    assert Decimal((await novita.bill(machine_id))["gpu_usd"]) == before + Decimal("0.35")
    answer = await novita.http.post(f"/_sim/machines/{machine_id}/reprice", json={})
    assert answer.status_code == 400
