"""Buying under fault: one machine per order, whatever Novita answers."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from gpukeeper.domain.errors import KeyReused
from gpukeeper.domain.instances import Command, Status
from gpukeeper.domain.machines import Listing
from gpukeeper.service import OrderFailed
from tests.engine.rig import ORDER, Rig


@pytest.mark.parametrize("kind", ["reset", "error", "html", "truncated", "empty"])
async def test_a_lost_answer_is_looked_up_and_the_machine_adopted(rig: Rig, kind: str) -> None:
    rig.fault(kind, "create", when="after", times=1)
    ordered = await rig.order()
    assert ordered.machine.novita_id is None
    assert ordered.status is Status.REQUESTED
    await rig.advance(minutes=2)
    running = await rig.find(ordered.id)
    assert running.status is Status.RUNNING
    assert rig.machines() == [running.machine.novita_id]
    assert rig.calls("create") == 1


async def test_a_lost_request_is_repeated_under_the_same_name_after_the_window(rig: Rig) -> None:
    rig.fault("reset", "create", when="before", times=1)
    ordered = await rig.order()
    await rig.advance(seconds=89)
    assert rig.calls("create") == 1
    await rig.advance(minutes=3)
    assert rig.calls("create") == 2
    running = await rig.find(ordered.id)
    assert running.status is Status.RUNNING
    assert [m.order.name for m in rig.world.machines.values()] == [ordered.novita_name]


async def test_a_machine_that_is_listed_late_is_adopted_and_not_bought_again(rig: Rig) -> None:
    rig.switch(list_lag_seconds=60.0, get_lag_seconds=60.0)
    rig.fault("reset", "create", when="after", times=1)
    ordered = await rig.order()
    await rig.advance(minutes=4)
    assert (await rig.find(ordered.id)).status is Status.RUNNING
    assert rig.calls("create") == 1


async def test_nothing_is_bought_while_novita_cannot_be_listed(rig: Rig) -> None:
    rig.fault("reset", "create", when="before", times=1)
    rig.fault("error", "list", for_seconds=300)
    ordered = await rig.order()
    await rig.advance(seconds=240)
    assert rig.calls("create") == 1
    await rig.advance(minutes=5)
    assert (await rig.find(ordered.id)).status is Status.RUNNING


async def test_a_machine_that_novitas_filter_does_not_find_is_not_bought_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_all = rig.novita.list_all

    async def list_without_filtered(*, name: str | None = None, **_: object) -> Listing:
        listing = await list_all()
        return listing if name is None else replace(listing, machines=())

    monkeypatch.setattr(rig.novita, "list_all", list_without_filtered)
    rig.fault("reset", "create", when="after", times=1)
    ordered = await rig.order()
    await rig.advance(minutes=5)
    running = await rig.find(ordered.id)
    assert running.status is Status.RUNNING
    assert rig.machines() == [running.machine.novita_id]
    assert rig.calls("create") == 1


async def test_out_of_stock_leads_to_the_next_offer(rig: Rig) -> None:
    rig.fate("out-of-stock")
    ordered = await rig.order()
    assert ordered.machine.product_id == "4090.16c96g.v2"
    assert [attempt.outcome for attempt in ordered.purchase.attempts] == [
        "out_of_stock",
        "accepted",
    ]


async def test_when_everything_is_out_of_stock_all_tries_are_kept(rig: Rig) -> None:
    rig.fate("out-of-stock", times=9)
    with pytest.raises(OrderFailed) as failure:
        await rig.order()
    assert failure.value.error_code == "out_of_stock"
    assert len(failure.value.instance.purchase.attempts) == 2


async def test_other_regions_are_tried_when_the_order_names_them(rig: Rig) -> None:
    rig.fate("out-of-stock", times=2)
    ordered = await rig.order(regions=("US-CA-06", "AS-SGP-02"))
    assert ordered.machine.region == "AS-SGP-02" or ordered.machine.region == "US-CA-06"
    assert len(ordered.purchase.attempts) == 3


@pytest.mark.parametrize(
    ("fate", "code"), [("no-balance", "insufficient_balance"), ("quota", "quota_exceeded")]
)
async def test_money_and_quota_stop_an_order(rig: Rig, fate: str, code: str) -> None:
    rig.fate(fate)
    with pytest.raises(OrderFailed) as failure:
        await rig.order()
    assert failure.value.error_code == code
    assert rig.calls("create") == 1


async def test_a_throttled_purchase_is_tried_again_since_nothing_was_bought(rig: Rig) -> None:
    rig.fault("rate-limit", "create", times=2, retry_after=1)
    ordered = await rig.order()
    assert ordered.machine.novita_id is not None
    assert rig.machines() == [ordered.machine.novita_id]


async def test_an_expired_key_fails_the_order(rig: Rig) -> None:
    rig.fault("unauthorized", "*")
    with pytest.raises(OrderFailed) as failure:
        await rig.order()
    assert failure.value.error_code == "novita_credentials"


async def test_an_unreachable_novita_fails_the_order_after_the_retries(rig: Rig) -> None:
    rig.fault("html", "products")
    with pytest.raises(OrderFailed) as failure:
        await rig.order()
    assert failure.value.error_code == "novita_unavailable"
    assert rig.calls("products") == 4


async def test_equal_keys_at_the_same_moment_give_one_instance(rig: Rig) -> None:
    asked = [
        asyncio.create_task(rig.service.order(ORDER, idempotency_key="k", body_hash="b"))
        for _ in range(5)
    ]
    while not all(task.done() for task in asked):
        await rig.work()
        await asyncio.sleep(0)
    answers = [await task for task in asked]
    assert len({view.instance.id for view in answers}) == 1
    assert len(rig.machines()) == 1


async def test_a_key_with_another_body_is_refused(rig: Rig) -> None:
    asked = asyncio.create_task(rig.service.order(ORDER, idempotency_key="k", body_hash="b"))
    while not asked.done():
        await rig.work()
        await asyncio.sleep(0)
    with pytest.raises(KeyReused):
        await rig.service.order(ORDER, idempotency_key="k", body_hash="other")


async def test_an_order_cancelled_before_its_answer_is_found_is_deleted_at_novita(
    rig: Rig,
) -> None:
    rig.fault("reset", "create", when="after", times=1)
    ordered = await rig.order()
    await rig.service.want(ordered.id, Command.DELETE)
    await rig.advance(minutes=3)
    assert (await rig.find(ordered.id)).status is Status.DELETED
    assert rig.machines() == []
    assert rig.calls("create") == 1


async def test_an_order_cancelled_that_never_reached_novita_is_deleted(rig: Rig) -> None:
    rig.fault("reset", "create", when="before", times=1)
    ordered = await rig.order()
    await rig.service.want(ordered.id, Command.DELETE)
    await rig.advance(minutes=3)
    assert (await rig.find(ordered.id)).status is Status.DELETED
    assert rig.calls("create") == 1


async def test_an_order_cancelled_while_novita_is_asked_is_deleted(rig: Rig) -> None:
    cancelled = False

    async def cancel(_: float) -> None:
        nonlocal cancelled
        row = (await rig.service.instances(limit=1)).views[0]
        if not cancelled:
            cancelled = True
            await rig.service.want(row.instance.id, Command.DELETE)

    rig.fault("rate-limit", "create", times=1, retry_after=1)
    rig.novita._sleep = cancel
    ordered = await rig.order()
    assert ordered.status is Status.DELETING
    await rig.advance(minutes=3)
    assert (await rig.find(ordered.id)).status is Status.DELETED
    assert rig.machines() == []


async def test_an_order_that_novita_refused_keeps_its_own_word(rig: Rig) -> None:
    rig.fate("refuse", http_status=400, reason="IMAGE_TOO_LARGE", message="too big")
    with pytest.raises(OrderFailed) as failure:
        await rig.order()
    assert failure.value.error_code == "novita_rejected"
    assert failure.value.novita_reason == "IMAGE_TOO_LARGE"
    assert "too big" in failure.value.message
    assert failure.value.retry_after is None
    reason = (await rig.find(failure.value.instance.id)).reason
    assert (await rig.history(failure.value.instance.id))[-1] == "failed"
    assert reason is not None
    assert reason.novita_reason == "IMAGE_TOO_LARGE"


async def test_an_order_that_novita_throttled_says_when_to_come_back(rig: Rig) -> None:
    rig.fault("rate-limit", "products", retry_after=3)
    with pytest.raises(OrderFailed) as failure:
        await rig.order()
    assert failure.value.error_code == "novita_rate_limited"
    reason = failure.value.instance.reason
    assert reason is not None
    assert reason.retry_at is not None
    # The look has waited as well since, so less may be left of it.
    assert failure.value.retry_after is not None
    assert failure.value.retry_after <= timedelta(seconds=3)
