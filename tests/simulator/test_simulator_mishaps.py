"""Failures of a machine, and what others do to it."""

import pytest

from tests.simulator.simulator_driver import Novita


@pytest.mark.parametrize(("leaves", "status"), [("stuck", "pulling"), ("exited", "exited")])
async def test_an_image_that_does_not_exist_fails_the_boot(leaves: str, status: str) -> None:
    novita = Novita(boot_error_leaves=leaves)
    machine_id = await novita.create(imageUrl="acme/does-not-exist:1.0")
    await novita.advance(13)
    assert (await novita.get(machine_id))["statusError"] == {"state": "", "message": ""}

    await novita.advance(3600)

    found = await novita.get(machine_id)
    assert found["status"] == status
    assert "not found" in found["statusError"]["message"]


async def test_a_private_image_needs_a_known_credential(novita: Novita) -> None:
    image = "registry.example.com/team/trainer:1.4"
    ids = [
        await novita.create(imageUrl=image),
        await novita.create(imageUrl=image, imageAuthId="auth-gone"),
        await novita.create(imageUrl=image, imageAuthId="auth-registry"),
        await novita.create(imageUrl=image, imageAuth="user:password"),
    ]
    await novita.advance(60)

    assert [await novita.status(item) for item in ids] == [
        "pulling",
        "pulling",
        "running",
        "running",
    ]


@pytest.mark.parametrize(
    ("behaviour", "status", "replays"),
    [("exited", "exited", 0), ("restart-loop", "running", 1), ("running", "running", 0)],
)
async def test_what_the_end_of_a_process_shows_is_a_setting(
    behaviour: str, status: str, replays: int
) -> None:
    novita = Novita(process_exit=behaviour)
    machine_id = await novita.running()

    await novita.act(machine_id, "exit")

    assert await novita.status(machine_id) == status
    assert (await novita.sim("GET", f"/machines/{machine_id}"))["replays"] == replays


async def test_a_person_in_the_console_can_do_what_clients_can(novita: Novita) -> None:
    machine_id = await novita.running()
    for action, status in [
        ("stop", "toStop"),
        ("start", "toStart"),
        ("restart", "toRestart"),
        ("delete", "toRemove"),
    ]:
        await novita.act(machine_id, action)
        assert await novita.status(machine_id) == status


async def test_a_machine_can_fail_vanish_or_show_any_status(novita: Novita) -> None:
    failing, stuck, odd, gone = [await novita.create() for _ in range(4)]
    await novita.advance(5)

    await novita.act(failing, "boot-error", state="E", message="no", exited=True)
    await novita.act(stuck, "boot-error", state="E", message="no")
    await novita.act(odd, "set", status="hibernating")
    await novita.act(gone, "vanish")
    await novita.advance(1000)

    assert (await novita.get(failing))["statusError"] == {"state": "E", "message": "no"}
    statuses = [await novita.status(item) for item in (failing, stuck, odd, gone)]
    assert statuses == ["exited", "pulling", "hibernating", "404"]


async def test_finish_takes_a_machine_where_it_is_going(novita: Novita) -> None:
    machine_id = await novita.create()
    await novita.act(machine_id, "pull-forever")
    await novita.advance(3600)
    assert await novita.status(machine_id) == "pulling"

    await novita.act(machine_id, "finish")
    assert await novita.status(machine_id) == "running"

    await novita.act(machine_id, "stop")
    for _ in range(2):
        await novita.act(machine_id, "finish")
        assert await novita.status(machine_id) == "exited"


async def test_a_machine_nobody_ordered_appears(novita: Novita) -> None:
    await novita.sim(
        "POST", "/machines", {"name": "stranger", "status": "running", "billing_mode": "spot"}
    )

    (row,) = await novita.rows()

    assert (row["name"], row["status"], row["spotStatus"]) == ("stranger", "running", "running")
