"""The life of a machine: phases, and what a client may do to it."""

import re

import pytest

from tests.simulator.simulator_driver import Novita


async def test_a_created_machine_starts_by_itself_through_all_phases(novita: Novita) -> None:
    answer = await novita.post(
        "/gpu/instance/create",
        productId="4090.16c62g",
        gpuNum=1,
        rootfsSize=60,
        imageUrl="pytorch/pytorch:latest",
        kind="gpu",
    )

    assert list(answer.json()) == ["id"]
    machine_id = answer.json()["id"]
    assert re.fullmatch(r"[0-9a-f]{16}", machine_id)
    seen = []
    for _ in range(16):
        seen.append(await novita.status(machine_id))
        await novita.advance(1)
    assert list(dict.fromkeys(seen)) == [
        "pending",
        "toCreate",
        "creating",
        "pulling",
        "starting",
        "running",
    ]


async def test_by_switch_a_created_machine_has_to_be_started() -> None:
    novita = Novita(auto_start=False)
    machine_id = await novita.create()
    await novita.advance(4)
    assert await novita.status(machine_id) == "exited"

    assert (await novita.verb("start", machine_id)).status_code == 200

    await novita.advance(2)
    assert await novita.status(machine_id) == "running"


async def test_a_start_after_create_is_an_invalid_state_change(novita: Novita) -> None:
    machine_id = await novita.create()

    answer = await novita.verb("start", machine_id)

    assert (answer.status_code, answer.json()["message"]) == (400, "invalid state change")


async def test_a_stopped_machine_can_be_started_again(novita: Novita) -> None:
    machine_id = await novita.running()

    stopped = await novita.verb("stop", machine_id)
    assert stopped.json() == {"instanceId": machine_id, "state": "toStop"}
    assert await novita.status(machine_id) == "toStop"
    await novita.advance(3)
    exited = await novita.get(machine_id)
    assert (exited["status"], exited["spotStatus"], exited["spotReclaimTime"]) == (
        "exited",
        "",
        "0",
    )

    started = await novita.verb("start", machine_id)
    assert started.json() == {"instanceId": machine_id, "state": "toStart"}
    await novita.advance(2)
    assert await novita.status(machine_id) == "running"


async def test_a_machine_restarts_in_place(novita: Novita) -> None:
    machine_id = await novita.running()

    assert (await novita.verb("restart", machine_id)).json() == {}

    assert await novita.status(machine_id) == "toRestart"
    await novita.advance(3)
    assert await novita.status(machine_id) == "running"


async def test_ssh_credentials_change_with_every_start(novita: Novita) -> None:
    machine_id = await novita.running()
    first = (await novita.get(machine_id))["connectComponentSSH"]
    await novita.verb("restart", machine_id)
    await novita.advance(3)

    second = (await novita.get(machine_id))["connectComponentSSH"]

    assert first["isRunning"]
    assert second["isRunning"]
    assert first["password"] != second["password"]
    assert first["sshCommand"] != second["sshCommand"]


@pytest.mark.parametrize("verb", ["stop", "restart"])
async def test_only_a_running_machine_can_be_stopped_or_restarted(
    novita: Novita, verb: str
) -> None:
    machine_id = await novita.create()

    assert (await novita.verb(verb, machine_id)).status_code == 400


@pytest.mark.parametrize("after_seconds", [0, 2, 5, 14, 20])
async def test_a_machine_can_be_deleted_in_every_status(novita: Novita, after_seconds: int) -> None:
    machine_id = await novita.create()
    await novita.advance(after_seconds)

    assert (await novita.verb("delete", machine_id)).json() == {}

    assert await novita.status(machine_id) == "toRemove"
    await novita.advance(3)
    (row,) = await novita.rows()
    assert (row["status"], row["productName"]) == ("removed", "")
    assert await novita.status(machine_id) == "404"
    await novita.advance(10)
    assert await novita.rows() == []


@pytest.mark.parametrize(
    ("style", "status", "reason"),
    [
        ("404", 404, "RESOURCE_NOT_FOUND"),
        ("400", 400, "RESOURCE_NOT_FOUND"),
        ("404-typo", 404, "NOT_FOUNT"),
    ],
)
async def test_an_unknown_machine_is_answered_in_the_style_chosen(
    style: str, status: int, reason: str
) -> None:
    novita = Novita(not_found=style)
    for verb in ("start", "stop", "restart", "delete"):
        answer = await novita.verb(verb, "no-such-machine")
        assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert await novita.status("no-such-machine") == str(status)


@pytest.mark.parametrize(
    ("style", "status"), [("accepted", 200), ("not-found", 404), ("invalid-state", 400)]
)
async def test_a_second_delete_is_answered_as_chosen(style: str, status: int) -> None:
    novita = Novita(repeated_delete=style)
    machine_id = await novita.create()
    await novita.verb("delete", machine_id)

    assert (await novita.verb("delete", machine_id)).status_code == status


async def test_a_removed_machine_is_not_found_by_delete_even_where_get_shows_it() -> None:
    novita = Novita(removed_in_get=True)
    machine_id = await novita.create()
    await novita.verb("delete", machine_id)
    await novita.advance(3)

    assert await novita.status(machine_id) == "removed"
    assert (await novita.verb("delete", machine_id)).status_code == 404


async def test_a_monthly_machine_cannot_be_deleted(novita: Novita) -> None:
    machine_id = await novita.create(billingMode="onDemand", month=1)

    answer = await novita.verb("delete", machine_id)

    assert answer.json()["reason"] == "PREPAID_INSTANCE_NOT_SUPPORT_RELEASE"
    found = await novita.get(machine_id)
    assert (found["billingMode"], found["endTime"] != "-1") == ("monthly", True)


@pytest.mark.parametrize(("for_seconds", "ends"), [(600, "404"), (None, "toRemove")])
async def test_a_deletion_may_hang(novita: Novita, for_seconds: int | None, ends: str) -> None:
    machine_id = await novita.running()
    await novita.act(machine_id, "hang-delete", for_seconds=for_seconds)
    await novita.verb("delete", machine_id)

    await novita.advance(599)
    assert await novita.status(machine_id) == "toRemove"
    assert (await novita.bill(machine_id))["is_billed_now"]
    await novita.advance(10)
    assert await novita.status(machine_id) == ends


async def test_a_deletion_that_has_begun_can_be_made_to_hang_and_be_finished(
    novita: Novita,
) -> None:
    machine_id = await novita.running()
    await novita.verb("delete", machine_id)
    await novita.act(machine_id, "hang-delete")
    await novita.advance(3600)
    assert await novita.status(machine_id) == "toRemove"

    await novita.act(machine_id, "finish")

    assert await novita.status(machine_id) == "404"


async def test_a_verb_may_take_effect_and_still_be_refused() -> None:
    novita = Novita(state_change="acts-and-refuses")
    machine_id = await novita.running()

    answer = await novita.verb("stop", machine_id)

    assert answer.json()["message"] == "invalid state change"
    assert await novita.status(machine_id) == "toStop"


async def test_a_start_can_be_refused_for_want_of_a_gpu() -> None:
    novita = Novita(start_refused_after_stop=1.0)
    machine_id = await novita.running()
    await novita.verb("stop", machine_id)
    await novita.advance(3)

    answer = await novita.verb("start", machine_id)

    assert answer.json()["reason"] == "INSUFFICIENT_RESOURCE"
    assert await novita.status(machine_id) == "exited"


async def test_a_machine_of_a_product_no_longer_sold_cannot_be_started(novita: Novita) -> None:
    machine_id = await novita.running()
    await novita.verb("stop", machine_id)
    await novita.advance(3)
    await novita.sim("DELETE", "/products/4090.16c62g")

    answer = await novita.verb("start", machine_id)

    assert answer.json()["reason"] == "INSUFFICIENT_RESOURCE"
