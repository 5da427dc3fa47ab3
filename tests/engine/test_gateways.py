"""Answers that are not Novita's prove nothing: no machine is taken for gone because of them."""

import json
from typing import Any

import pytest

from gpukeeper.domain.errors import NovitaUnavailable
from gpukeeper.domain.instances import Command, Status
from gpukeeper.domain.products import PurchaseRequest
from gpukeeper.service.failing import OrderFailed
from tests.engine.rig import Rig

AN_HOUR = 3600


@pytest.mark.parametrize("status", [404, 200])
async def test_a_gateway_that_answers_for_novita_deletes_nothing(rig: Rig, status: int) -> None:
    running = await rig.running()
    for route in ("delete", "get"):
        rig.fault("gateway", route, status=status, for_seconds=AN_HOUR)
    await rig.service.want(running.id, Command.DELETE)
    for _ in range(20):
        await rig.advance(minutes=2)
        deleting = await rig.find(running.id)
        assert (deleting.status, deleting.may_be_billed) == (Status.DELETING, True)
    assert "deleted" not in await rig.history(running.id)
    # Once Novita answers for itself, the machine is deleted and that is told once.
    rig.world.faults.clear()
    await rig.advance(minutes=8)
    assert (await rig.find(running.id)).status is Status.DELETED
    assert (await rig.history(running.id)).count("deleted") == 1
    assert rig.machines() == []


@pytest.mark.parametrize("status", [404, 200])
@pytest.mark.parametrize("route", ["get", "*"])
async def test_a_gateway_that_answers_for_novita_ends_no_instance(
    rig: Rig, route: str, status: int
) -> None:
    running = await rig.running()
    rig.fault("gateway", route, status=status, for_seconds=AN_HOUR)
    for _ in range(6):
        await rig.service.instance(running.id, refresh=True)
        await rig.advance(minutes=5)
    assert (await rig.find(running.id)).status is Status.RUNNING
    assert (await rig.history(running.id))[-1] == "running"


async def test_a_deletion_that_was_never_accepted_takes_a_listing_without_the_machine(
    rig: Rig,
) -> None:
    running = await rig.running()
    for route in ("delete", "get"):
        rig.fault("error", route, status=404, reason="RESOURCE_NOT_FOUND", for_seconds=AN_HOUR / 2)
    await rig.service.want(running.id, Command.DELETE)
    await rig.advance(minutes=20)
    assert (await rig.find(running.id)).status is Status.DELETING
    await rig.advance(minutes=20)
    assert (await rig.history(running.id)).count("deleted") == 1
    assert rig.machines() == []


async def test_a_purchase_that_a_gateway_answers_is_looked_up_and_bought_once(rig: Rig) -> None:
    rig.fault("gateway", "create", when="after", status=404, times=1)
    ordered = await rig.order()
    assert ordered.may_be_billed
    await rig.advance(minutes=3)
    assert (await rig.find(ordered.id)).status is Status.RUNNING
    assert len(rig.machines()) == 1


async def test_a_purchase_that_is_answered_with_a_known_id_takes_nobodys_machine(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = await rig.running(name="held")
    create = rig.novita.create

    async def answer_from_a_cache(purchase: PurchaseRequest, **checks: Any) -> str:
        await create(purchase, **checks)
        return str(held.machine.novita_id)

    monkeypatch.setattr(rig.novita, "create", answer_from_a_cache)
    rig.switch(list_lag_seconds=5.0)
    bought = await rig.order(name="bought")
    assert (bought.machine.novita_id, bought.may_be_billed) == (None, True)
    await rig.advance(minutes=3)
    bought = await rig.find(bought.id)
    assert bought.status is Status.RUNNING
    assert bought.machine.novita_id != held.machine.novita_id
    assert (await rig.find(held.id)).status is Status.RUNNING
    assert await rig.broken_at_rest() == []


async def test_the_password_of_another_machine_is_never_shown(rig: Rig) -> None:
    running, other = await rig.running(name="one"), await rig.running(name="other")
    world = rig.world
    find = world.get

    def mixed_up(_: str) -> object:
        return find(str(other.machine.novita_id))

    world.get = mixed_up  # type: ignore[method-assign,assignment] # a cache that ignores the query
    with pytest.raises(NovitaUnavailable):
        await rig.service.connection(running.id)


async def test_no_template_is_missing_because_a_gateway_says_so(rig: Rig) -> None:
    rig.fault("gateway", "template", status=404, for_seconds=AN_HOUR)
    with pytest.raises(OrderFailed) as failure:
        await rig.order()
    assert failure.value.error_code == "novita_unavailable"


async def test_no_product_is_unknown_because_a_list_of_everything_is_empty(rig: Rig) -> None:
    rig.world.products.clear()
    with pytest.raises(OrderFailed) as failure:
        await rig.order()
    assert failure.value.error_code == "novita_unavailable"


async def test_what_novita_refuses_for_good_is_said_in_a_webhook_within_one_try(rig: Rig) -> None:
    running = await rig.running()
    rig.fault("error", "stop", status=400, reason="ODD_REASON", message="never")
    await rig.service.want(running.id, Command.STOP)
    await rig.work()
    refused = await rig.find(running.id)
    assert refused.status is Status.RUNNING
    assert refused.reason is not None
    assert refused.reason.code == "stop_refused"
    assert rig.calls("stop") == 1
    error = json.loads(rig.receiver.bodies[-1][2])["data"]["error"]
    assert error["code"] == "stop_refused"
    assert "ODD_REASON" in error["message"]
    await rig.advance(minutes=10)
    assert rig.calls("stop") == 1
