"""Novita's bad days: what looks like an end is not one, and what looks like nothing is bought."""

import asyncio
import json
from datetime import timedelta

import pytest

from gpukeeper.domain.instances import Command, OnFailure, Status
from tests.engine.rig import ORDER, Rig


async def test_a_machine_thought_lost_is_watched_again_when_novita_shows_it(rig: Rig) -> None:
    running = await rig.running()
    rig.fault("empty-list", "list", for_seconds=290)
    rig.fault("error", "get", status=404, reason="RESOURCE_NOT_FOUND", for_seconds=290)
    await rig.advance(seconds=285)
    assert (await rig.find(running.id)).status is Status.LOST
    await rig.advance(minutes=5)
    back = await rig.find(running.id)
    assert back.status is Status.RUNNING
    assert back.is_watched


async def test_a_machine_thought_deleted_is_deleted_again_when_novita_shows_it(rig: Rig) -> None:
    running = await rig.running()
    machine = rig.world.machines[str(running.machine.novita_id)]
    await rig.service.want(running.id, Command.DELETE)
    await rig.advance(minutes=2)
    assert (await rig.find(running.id)).status is Status.DELETED
    rig.world.machines[machine.id] = machine
    await rig.advance(minutes=5)
    assert (await rig.find(running.id)).status is Status.DELETED
    assert rig.machines() == []


async def test_an_empty_listing_does_not_lead_to_a_second_purchase(rig: Rig) -> None:
    await rig.running(name="other")
    rig.fault("reset", "create", when="after", times=1)
    rig.fault("empty-list", "list", for_seconds=100)
    ordered = await rig.order()
    await rig.advance(minutes=5)
    names = [machine.order.name for machine in rig.world.machines.values()]
    assert names.count(ordered.novita_name) == 1
    assert (await rig.find(ordered.id)).status is Status.RUNNING


async def test_the_deadline_asks_before_it_gives_up_a_machine_that_runs(rig: Rig) -> None:
    ordered = await rig.order(on_failure=OnFailure.DELETE)
    rig.fault("error", "list", for_seconds=900)
    await rig.advance(minutes=11)
    assert (await rig.find(ordered.id)).status is Status.RUNNING
    assert rig.machines() == [ordered.machine.novita_id]


@pytest.mark.parametrize("on_failure", OnFailure)
async def test_an_outage_over_the_deadline_fails_and_deletes_nothing_that_runs(
    rig: Rig, on_failure: OnFailure
) -> None:
    ordered = await rig.order(on_failure=on_failure)
    await rig.advance(seconds=20)
    for route in ("list", "get"):
        rig.fault("html", route, status=502, for_seconds=660)
    await rig.advance(minutes=16)
    assert (await rig.find(ordered.id)).status is Status.RUNNING
    assert "failed" not in await rig.history(ordered.id)
    assert rig.calls("delete") == 0


async def test_a_machine_that_listings_show_pulling_fails_though_it_cannot_be_asked_about(
    rig: Rig,
) -> None:
    rig.fate("pull-forever")
    ordered = await rig.order()
    rig.fault("html", "get", for_seconds=1200)
    await rig.advance(minutes=12)
    failed = await rig.find(ordered.id)
    assert failed.reason is not None
    assert (failed.status, failed.reason.code) == (Status.FAILED, "startup_timeout")


async def test_a_long_retry_after_does_not_blind_the_watch(rig: Rig) -> None:
    running = await rig.running()
    rig.fault("rate-limit", "list", times=1, retry_after=86_400)
    await rig.advance(minutes=3)
    await rig.service.want(running.id, Command.STOP)
    await rig.advance(minutes=20)
    assert (await rig.find(running.id)).status is Status.STOPPED


async def test_a_clock_that_was_set_back_does_not_stop_the_looks(rig: Rig) -> None:
    await rig.running()
    rig.clock.at -= timedelta(hours=2)
    before = rig.calls("list")
    await rig.advance(minutes=10)
    assert rig.calls("list") > before


async def test_refreshes_alone_conclude_nothing(rig: Rig) -> None:
    running = await rig.running()
    rig.console(running, "vanish")
    for _ in range(5):
        await rig.service.instance(running.id, refresh=True)
        await rig.work()
        rig.clock.at += timedelta(milliseconds=300)
    assert (await rig.find(running.id)).status is Status.RUNNING


async def test_purchases_that_hang_do_not_hold_up_a_delete(rig: Rig) -> None:
    running = await rig.running()
    never = asyncio.Event()

    async def hang(purchase: object, **_: object) -> str:
        await never.wait()
        raise AssertionError

    rig.novita.create = hang  # type: ignore[method-assign]  # what a partial outage does
    asked = [asyncio.create_task(rig.service.order(ORDER)) for _ in range(70)]
    while rig.engine.buyer.workers.room:
        await rig.engine.buyer.turn()
        await asyncio.sleep(0)
    await rig.service.want(running.id, Command.DELETE)
    await rig.engine.reconciler.turn()
    await rig.engine.reconciler.workers.drain(timedelta(minutes=1))
    assert rig.calls("delete") == 1
    await rig.engine.buyer.workers.drain(timedelta(0))
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)


async def test_machines_that_are_listed_late_are_no_alarm(rig: Rig) -> None:
    rig.switch(list_lag_seconds=40.0)
    ordered = [await rig.order(name=f"node-{number}") for number in range(3)]
    await rig.advance(seconds=35)
    health = await rig.service.health()
    assert health.body["novita"]["fleetVanished"] is False
    await rig.advance(minutes=3)
    for instance in ordered:
        assert (await rig.find(instance.id)).status is Status.RUNNING


async def test_a_fleet_that_stays_away_longer_than_any_incident_is_looked_into(rig: Rig) -> None:
    fleet = [await rig.running(name=f"node-{number}") for number in range(4)]
    for instance in fleet[:3]:
        rig.console(instance, "vanish")
    await rig.advance(minutes=50)
    assert {(await rig.find(i.id)).status for i in fleet} == {Status.RUNNING}
    await rig.advance(minutes=20)
    statuses = [(await rig.find(instance.id)).status for instance in fleet]
    assert statuses == [Status.LOST] * 3 + [Status.RUNNING]
    health = await rig.service.health()
    assert health.body["novita"]["fleetVanished"] is False


async def test_a_further_region_that_cannot_be_asked_does_not_fail_the_order(rig: Rig) -> None:
    await rig.order(name="warms-up-the-first-region")
    rig.fault("html", "products")
    ordered = await rig.order(regions=("US-CA-06",))
    assert ordered.machine.region == "CN-HK-01"


async def test_an_order_outlives_a_bad_minute_of_the_catalogue_once_it_is_accepted(
    rig: Rig,
) -> None:
    rig.fault("reset", "create", when="before", times=1)
    rig.fault("html", "products", after=1, for_seconds=150)
    ordered = await rig.order()
    await rig.advance(minutes=6)
    assert (await rig.find(ordered.id)).status is Status.RUNNING


async def test_a_running_machine_shows_its_ssh_command(rig: Rig) -> None:
    running = await rig.running()
    assert running.machine.ssh_command is not None
    assert running.machine.ssh_command.startswith("ssh -p")
    assert rig.calls("get") == 1
    await rig.advance(minutes=10)
    assert (await rig.find(running.id)).machine.ssh_command == running.machine.ssh_command
    assert rig.calls("get") == 1


async def test_a_restart_in_the_console_between_two_looks_is_followed_by_the_ssh_command(
    rig: Rig,
) -> None:
    running = await rig.running()
    await rig.advance(minutes=5)
    rig.receiver.bodies.clear()
    rig.console(running, "restart")
    rig.console(running, "finish")
    await rig.advance(minutes=2)
    reached = await rig.find(running.id)
    assert reached.status is Status.RUNNING
    there = await rig.novita.get(str(running.machine.novita_id))
    assert reached.machine.ssh_command == there.ssh_command != running.machine.ssh_command
    # One question when it came up, one now, and ours.
    assert rig.calls("get") == 3
    said = [json.loads(body) for _, _, body in rig.receiver.bodies]
    assert {each["type"] for each in said} == {"instance.connection_changed"}
    assert said[-1]["data"]["instance"]["sshCommand"] == reached.machine.ssh_command
    await rig.advance(minutes=30)
    assert rig.calls("get") == 3


async def test_a_restart_that_no_look_saw_leaves_no_dead_command_while_novita_cannot_be_asked(
    rig: Rig,
) -> None:
    running = await rig.running()
    rig.fault("error", "get", for_seconds=90)
    rig.console(running, "restart")
    rig.console(running, "finish")
    await rig.advance(seconds=70)
    assert (await rig.find(running.id)).machine.ssh_command is None
    await rig.advance(minutes=4)
    assert (await rig.find(running.id)).machine.ssh_command not in (
        None,
        running.machine.ssh_command,
    )
