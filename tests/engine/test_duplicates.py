"""Two machines of one order: one is kept, the rest are deleted, and the history tells it."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from gpukeeper.domain.instances import Command, Instance, Status
from gpukeeper.service import OrderFailed
from gpukeeper.simulator.machines.interventions import ForeignMachines, add_foreign_machines
from tests.engine.conftest import Build
from tests.engine.rig import Rig
from tests.instances import edit


def late(rig: Rig, ordered: Instance, count: int = 1) -> list[str]:
    """Let calls that were given up take effect now; return the machines that they bought."""
    machines = [
        add_foreign_machines(rig.world, ForeignMachines(name=ordered.novita_name))[0]
        for _ in range(count)
    ]
    return [machine.id for machine in machines]


async def lost(rig: Rig, *, when: str = "before") -> Instance:
    """Order, and lose the answer."""
    rig.fault("reset", "create", when=when, times=1)
    return await rig.order()


async def test_of_two_machines_that_are_found_the_oldest_is_kept_and_the_rest_are_deleted(
    rig: Rig,
) -> None:
    ordered = await lost(rig)
    (oldest,) = late(rig, ordered)
    rig.clock.at += timedelta(seconds=5)
    late(rig, ordered, 2)
    await rig.advance(minutes=5)
    kept = await rig.find(ordered.id)
    assert (kept.status, kept.machine.novita_id) == (Status.RUNNING, oldest)
    assert rig.machines() == [oldest]
    assert rig.calls("create") == 1
    history = await rig.history(ordered.id)
    assert history.count("surplus_found") == 1
    assert history.count("surplus_deleted") == 2
    assert await rig.broken_at_rest() == []


async def test_the_history_names_the_machines_and_no_webhook_tells_of_them(rig: Rig) -> None:
    ordered = await lost(rig)
    ids = late(rig, ordered, 2)
    await rig.advance(minutes=5)
    events = await rig.service.events(ordered.id)
    (found,) = [event for event in events if event.type == "instance.surplus_found"]
    kept = (await rig.find(ordered.id)).machine.novita_id
    assert found.data["instance"]["surplusMachines"] == [m for m in ids if m != kept]
    told = {json.loads(body)["type"] for _, _, body in rig.receiver.bodies}
    assert told == {"instance.created", "instance.running", "instance.connection_changed"}


async def test_a_purchase_that_takes_effect_after_its_order_was_bought_again_is_undone(
    rig: Rig,
) -> None:
    ordered = await lost(rig)
    await rig.advance(minutes=4)
    running = await rig.find(ordered.id)
    assert (running.status, rig.calls("create")) == (Status.RUNNING, 2)
    late(rig, ordered)
    await rig.advance(minutes=4)
    assert rig.machines() == [running.machine.novita_id]
    assert await rig.service.orphans() == ()
    after = await rig.find(ordered.id)
    assert (after.status, after.machine.novita_id) == (Status.RUNNING, running.machine.novita_id)
    assert (await rig.history(ordered.id))[-2:] == ["surplus_found", "surplus_deleted"]
    assert await rig.broken_at_rest() == []


async def test_a_purchase_that_takes_effect_after_its_order_was_deleted_is_undone(
    rig: Rig,
) -> None:
    ordered = await lost(rig)
    await rig.service.want(ordered.id, Command.DELETE)
    await rig.advance(minutes=3)
    assert (await rig.find(ordered.id)).status is Status.DELETED
    late(rig, ordered)
    await rig.advance(minutes=4)
    assert rig.machines() == []
    assert (await rig.find(ordered.id)).status is Status.DELETED
    assert await rig.broken_at_rest() == []


async def test_a_purchase_that_takes_effect_after_its_order_has_failed_is_undone(
    rig: Rig,
) -> None:
    ordered = await lost(rig)
    rig.fate("out-of-stock", times=9)
    await rig.advance(minutes=3)
    failed = await rig.find(ordered.id)
    assert (failed.status, failed.machine.novita_id) == (Status.FAILED, None)
    late(rig, ordered)
    await rig.advance(minutes=4)
    assert rig.machines() == []
    assert (await rig.find(ordered.id)).status is Status.FAILED
    assert await rig.broken_at_rest() == []


async def test_a_second_machine_of_an_order_that_lost_no_answer_is_left_to_a_person(
    rig: Rig,
) -> None:
    running = await rig.running()
    (second,) = late(rig, running)
    await rig.advance(minutes=4)
    assert sorted(rig.machines()) == sorted([str(running.machine.novita_id), second])
    assert [orphan.novita_id for orphan in await rig.service.orphans()] == [second]


async def test_a_machine_of_an_order_that_was_refused_is_left_to_a_person(rig: Rig) -> None:
    rig.fate("no-balance")
    with pytest.raises(OrderFailed) as failure:
        await rig.order()
    (second,) = late(rig, failure.value.instance)
    await rig.advance(minutes=4)
    assert [orphan.novita_id for orphan in await rig.service.orphans()] == [second]


@pytest.mark.parametrize("kind", ["reset", "error", "html", "rate-limit"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_surplus_machine_is_deleted_however_badly_novita_answers(
    rig: Rig, kind: str, when: str
) -> None:
    ordered = await lost(rig)
    late(rig, ordered, 2)
    for route in ("get", "delete"):
        rig.fault(kind, route, when=when, times=3)
    await rig.advance(minutes=10)
    kept = await rig.find(ordered.id)
    assert rig.machines() == [kept.machine.novita_id]
    assert kept.duplicate_ids == ()
    assert (await rig.history(ordered.id)).count("surplus_deleted") == 1
    assert await rig.broken_at_rest() == []


async def test_a_surplus_machine_whose_deletion_hangs_is_known_until_it_is_gone(rig: Rig) -> None:
    ordered = await lost(rig)
    ids = late(rig, ordered, 2)
    for machine_id in ids:
        rig.console(edit(ordered, novita_id=machine_id), "hang-delete", for_seconds=900)
    await rig.advance(minutes=10)
    held = await rig.find(ordered.id)
    assert len(held.duplicate_ids) == 1
    assert await rig.service.orphans() == ()
    assert rig.calls("delete") > 1
    await rig.advance(minutes=15)
    assert rig.machines() == [held.machine.novita_id]
    assert (await rig.find(ordered.id)).duplicate_ids == ()


@pytest.mark.parametrize("switches", [{"get_lag_seconds": 60.0}, {"list_behind_seconds": 40.0}])
async def test_lagging_answers_neither_spare_a_surplus_machine_nor_tell_of_it_twice(
    build: Build, switches: dict[str, float]
) -> None:
    rig = build()
    ordered = await lost(rig)
    late(rig, ordered, 2)
    rig.switch(**switches)
    await rig.advance(minutes=15)
    kept = await rig.find(ordered.id)
    assert rig.machines() == [kept.machine.novita_id]
    history = await rig.history(ordered.id)
    assert (history.count("surplus_found"), history.count("surplus_deleted")) == (1, 1)


async def test_the_intent_to_delete_a_surplus_machine_is_stored_before_novita_is_asked(
    rig: Rig,
) -> None:
    ordered = await lost(rig)
    ids = late(rig, ordered, 2)
    intents: list[tuple[str, ...]] = []
    ask = rig.novita.delete

    async def delete(novita_id: str, *, check: Callable[[], None] = lambda: None) -> None:
        intents.append((await rig.find(ordered.id)).duplicate_ids)
        await ask(novita_id, check=check)

    rig.novita.delete = delete  # type: ignore[method-assign]  # looks on, and asks as ever
    await rig.advance(minutes=5)
    kept = (await rig.find(ordered.id)).machine.novita_id
    assert set(intents) == {tuple(machine for machine in ids if machine != kept)}
