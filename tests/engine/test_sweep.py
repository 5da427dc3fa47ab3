"""Watching: few calls, nothing concluded from bad answers, everything noticed from good ones."""

import math
from typing import Any

import pytest

from gpukeeper.domain.instances import Command, Instance, Status
from gpukeeper.domain.machines import Listing
from gpukeeper.domain.products import BillingMode
from tests.engine.rig import Rig


async def fleet(rig: Rig, count: int) -> list[Instance]:
    """Order some instances and return them running."""
    ordered = [await rig.order(name=f"node-{number}") for number in range(count)]
    await rig.advance(minutes=3)
    found = [await rig.find(instance.id) for instance in ordered]
    assert {instance.status for instance in found} == {Status.RUNNING}
    return found


async def test_a_look_costs_one_call_per_hundred_machines(rig: Rig) -> None:
    rig.switch(phase_seconds={**rig.world.settings.phase_seconds, "pulling": (500, 500)})
    for number in range(110):
        await rig.order(name=f"node-{number}")
    before, looks = rig.calls("list"), 4
    for _ in range(looks):
        await rig.engine.sweep.look()
    assert rig.calls("list") - before <= looks * (math.ceil(110 / 100) + 1)
    assert rig.calls("get") == 0


async def test_an_unchanged_fleet_is_not_written_again(rig: Rig) -> None:
    await fleet(rig, 3)
    rows = [(await rig.find(i.id)) for i in await fleet(rig, 1)]
    await rig.advance(minutes=10)
    assert [await rig.find(row.id) for row in rows] == rows


@pytest.mark.parametrize("kind", ["empty-list", "error", "html", "truncated", "empty", "reset"])
async def test_a_bad_listing_changes_nothing(rig: Rig, kind: str) -> None:
    instances = await fleet(rig, 4)
    rig.fault(kind, "list", for_seconds=600)
    await rig.advance(minutes=9)
    rig.world.faults.clear()
    await rig.advance(minutes=3)
    for instance in instances:
        assert (await rig.find(instance.id)).status is Status.RUNNING
        assert (await rig.history(instance.id))[-1] == "running"


async def test_a_short_listing_changes_nothing(rig: Rig) -> None:
    instances = await fleet(rig, 4)
    rig.fault("short-list", "list", rows=1, for_seconds=600)
    await rig.advance(minutes=9)
    assert {(await rig.find(i.id)).status for i in instances} == {Status.RUNNING}


async def test_a_machine_that_vanished_is_lost_after_two_confirmed_looks(rig: Rig) -> None:
    instances = await fleet(rig, 3)
    rig.console(instances[0], "vanish")
    await rig.engine.sweep.look()
    await rig.work()
    assert (await rig.find(instances[0].id)).status is Status.RUNNING
    await rig.advance(minutes=3)
    assert (await rig.find(instances[0].id)).status is Status.LOST
    assert (await rig.history(instances[0].id))[-1] == "lost"
    assert (await rig.find(instances[1].id)).status is Status.RUNNING


async def test_nothing_is_concluded_when_most_of_the_fleet_vanishes(rig: Rig) -> None:
    instances = await fleet(rig, 4)
    for instance in instances[:3]:
        rig.console(instance, "vanish")
    await rig.advance(minutes=10)
    assert {(await rig.find(i.id)).status for i in instances} == {Status.RUNNING}
    health = await rig.service.health()
    assert health.body["novita"]["fleetVanished"] is True


async def test_a_list_that_goes_back_once_changes_nothing(rig: Rig) -> None:
    running = await rig.running()
    rig.console(running, "stale-once")
    await rig.advance(minutes=5)
    assert (await rig.history(running.id))[-1] == "running"


async def test_a_stop_by_someone_else_is_noticed(rig: Rig) -> None:
    running = await rig.running(billing_mode=BillingMode.ON_DEMAND)
    rig.console(running, "stop")
    await rig.advance(minutes=3)
    stopped = await rig.find(running.id)
    assert stopped.status is Status.STOPPED
    assert stopped.reason is not None
    assert stopped.reason.code == "stopped_elsewhere"
    assert rig.calls("start") == 0


async def test_a_start_by_someone_else_is_noticed(rig: Rig) -> None:
    running = await rig.running()
    await rig.service.want(running.id, Command.STOP)
    await rig.advance(minutes=2)
    rig.console(running, "start")
    await rig.advance(minutes=5)
    assert (await rig.find(running.id)).status is Status.RUNNING


async def test_an_unknown_status_is_kept_and_changes_nothing(rig: Rig) -> None:
    running = await rig.running()
    rig.console(running, "set", status="hibernating")
    await rig.advance(minutes=3)
    found = await rig.find(running.id)
    assert found.status is Status.RUNNING
    assert found.machine.novita_status == "hibernating"


async def test_answers_are_stale_while_novita_cannot_be_asked(rig: Rig) -> None:
    running = await rig.running()
    assert (await rig.service.instance(running.id)).is_stale is False
    rig.fault("html", "*", for_seconds=600)
    await rig.advance(minutes=5)
    view = await rig.service.instance(running.id)
    assert view.is_stale is True
    assert view.instance.status is Status.RUNNING
    assert (await rig.service.instance(running.id, refresh=True)).is_stale is True
    rig.world.faults.clear()
    await rig.advance(minutes=3)
    view = await rig.service.instance(running.id)
    assert view.is_stale is False
    assert view.observed_at is not None
    assert (rig.clock() - view.observed_at).total_seconds() <= 60


async def test_a_refresh_asks_novita_now(rig: Rig) -> None:
    ordered = await rig.order()
    rig.console(ordered, "finish")
    view = await rig.service.instance(ordered.id, refresh=True)
    assert view.instance.status is Status.RUNNING


async def test_novita_asking_for_patience_moves_the_next_look_only(rig: Rig) -> None:
    ordered = await rig.order()
    rig.fault("rate-limit", "list", times=4, retry_after=5)
    await rig.advance(minutes=4)
    assert (await rig.find(ordered.id)).status is Status.RUNNING


async def test_machines_deleted_while_novita_is_asked_are_no_vanished_fleet(rig: Rig) -> None:
    machines = await fleet(rig, 5)
    list_all = rig.novita.list_all

    async def list_late(**options: Any) -> Listing:
        for machine in machines[:4]:
            await rig.service.want(machine.id, Command.DELETE)
            rig.world.machines.pop(str(machine.machine.novita_id))
        return await list_all(**options)

    rig.novita.list_all = list_late  # type: ignore[method-assign]  # the owner is quicker
    await rig.engine.sweep.look()
    assert (await rig.service.census()).vanished == 0
