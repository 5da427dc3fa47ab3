"""Bills, balance, arrears and quota."""

import pytest

from tests.simulator.simulator_driver import Novita

BALANCE = "/openapi/v1/billing/balance/detail"


async def available(novita: Novita) -> str:
    """Return the available balance as Novita writes it."""
    return str((await novita.http.get(BALANCE)).json()["availableBalance"])


async def test_billing_begins_at_pulling_and_ends_when_stopped(novita: Novita) -> None:
    machine_id = await novita.create()
    await novita.advance(4)
    assert (await novita.bill(machine_id))["billed_seconds"] == 0
    await novita.advance(3600)
    assert (await novita.bill(machine_id))["gpu_usd"] == "0.175000"

    await novita.verb("stop", machine_id)
    await novita.advance(7200)

    bill = await novita.bill(machine_id)
    assert (bill["billed_seconds"], bill["is_billed_now"], bill["is_alive"]) == (3603, False, True)


async def test_a_pull_that_never_ends_costs_money_until_it_is_deleted(novita: Novita) -> None:
    await novita.sim("POST", "/next", {"kind": "pull-forever"})
    machine_id = await novita.create(billingMode="onDemand", gpuNum=2)
    await novita.advance(3604)
    assert (await novita.bill(machine_id))["usd"] == "0.700000"

    await novita.verb("delete", machine_id)
    await novita.advance(86400)

    bill = await novita.bill(machine_id)
    assert bill["billed_seconds"] == 3603
    assert bill["billed_gpu_seconds"] == 7206
    assert (bill["status"], bill["is_alive"], bill["is_billed_now"]) == ("gone", False, False)


async def test_disk_beyond_the_free_quota_costs_money_even_when_stopped(novita: Novita) -> None:
    machine_id = await novita.running(rootfsSize=160)
    await novita.verb("stop", machine_id)
    before = await novita.bill(machine_id)
    await novita.advance(86400)

    after = await novita.bill(machine_id)

    assert float(after["disk_usd"]) - float(before["disk_usd"]) == pytest.approx(0.5)


async def test_a_start_is_billed_again(novita: Novita) -> None:
    machine_id = await novita.running()
    await novita.verb("stop", machine_id)
    await novita.advance(1000)
    await novita.verb("start", machine_id)
    await novita.advance(101)

    bill = await novita.bill(machine_id)

    assert (bill["billed_seconds"], bill["is_billed_now"]) == (11 + 3 + 100, True)
    found = await novita.get(machine_id)
    assert int(found["lastStartedAt"]) - int(found["lastStoppedAt"]) == 998


async def test_the_balance_falls_when_it_is_settled(novita: Novita) -> None:
    assert await available(novita) == "1000000"
    await novita.create(billingMode="onDemand", gpuNum=8)
    await novita.advance(3599)
    assert await available(novita) == "1000000"
    await novita.advance(1)
    assert await available(novita) == "972031"


async def test_without_money_nothing_is_created_or_started_and_all_freezes() -> None:
    novita = Novita(balance_usd=1.0, settle_seconds=0)
    machine_id = await novita.running(billingMode="onDemand", gpuNum=8)
    stopped = await novita.running(billingMode="onDemand")
    await novita.verb("stop", stopped)
    await novita.advance(1800)

    assert await novita.status(machine_id) == "freezing"
    assert await novita.refusal() == (400, "BALANCE_NOT_ENOUGH")
    refused = await novita.verb("start", stopped)
    assert refused.json()["reason"] == "EXPIRED_OR_BALANCE_NOT_ENOUGH"
    billed = (await novita.bill(machine_id))["billed_seconds"]
    await novita.advance(3600)
    assert await novita.status(machine_id) == "exited"
    assert (await novita.bill(machine_id))["billed_seconds"] == billed

    await novita.sim("PUT", "/balance", {"usd": 20})
    assert (await novita.sim("GET", "/balance")) == {"usd": "20.000000"}
    assert (await novita.verb("start", stopped)).status_code == 200


async def test_a_balance_can_be_used_up_by_script(novita: Novita) -> None:
    await novita.create()
    await novita.sim("PUT", "/balance", {"usd": 0})
    assert await novita.refusal() == (400, "BALANCE_NOT_ENOUGH")
    assert await available(novita) == "0"


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("CREATE_GPU_NUM_LIMIT", 400),
        ("RATE_LIMIT_EXCEEDED", 429),
        ("CREATE_INSTANCE_LIMIT", 400),
    ],
)
async def test_a_quota_limits_the_gpus_that_are_held(reason: str, status: int) -> None:
    novita = Novita(quota_gpus=2, quota_refusal=reason)
    machine_id = await novita.running(gpuNum=2)
    assert await novita.refusal() == (status, reason)

    await novita.verb("stop", machine_id)
    await novita.advance(3)

    assert await novita.create()


async def test_the_ledger_adds_up(novita: Novita) -> None:
    ids = [await novita.create(), await novita.create(billingMode="onDemand")]
    await novita.advance(3604)
    await novita.act(ids[0], "vanish")

    ledger = await novita.sim("GET", "/ledger")

    assert ledger["alive"] == ledger["billed_now"] == [ids[1]]
    assert ledger["usd"] == "0.525000"
    assert ledger["billed_gpu_seconds"] == 7200
