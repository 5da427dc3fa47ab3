"""A restored store buys nothing that was bought since its backup: it looks first, then finds it."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpukeeper.domain.errors import KeyReused, StoreRestored
from gpukeeper.domain.instances import Instance, Status
from gpukeeper.service.ordering import BuyerElsewhere
from gpukeeper.simulator.machines.interventions import ForeignMachines, add_foreign_machines
from gpukeeper.store import facts
from tests.engine.rig import ORDER, Rig
from tests.engine.test_restored import Restore, copy, kind, restore

__all__ = ["kind", "restore"]


async def keyed(rig: Rig, number: int, **changes: Any) -> Instance:
    """Order under a key, let the engine work, and return the instance."""
    order = replace(ORDER, name=f"worker-{number}", **changes)
    asked = asyncio.create_task(
        rig.service.order(order, idempotency_key=f"job-{number}", body_hash=f"{order}")
    )
    while not asked.done():
        await rig.work()
        await asyncio.sleep(0)
    return (await asked).instance


async def restored_from(rig: Rig, restore: Restore, old: Path) -> Rig:
    """Go on with a copy that is known as one."""
    rig = restore(old)
    await rig.database.write(facts.record_restore)
    return rig


async def test_repeated_orders_find_the_machines_that_were_bought_after_the_backup(
    rig: Rig, restore: Restore, tmp_path: Path
) -> None:
    kept = await keyed(rig, 0)
    await rig.advance(minutes=2)
    old = copy(rig, tmp_path / "copy.db")
    newer = [await keyed(rig, number) for number in range(1, 6)]
    await rig.advance(minutes=2)
    before = sorted(rig.machines())

    again = await restored_from(rig, restore, old)
    with pytest.raises(StoreRestored):
        await keyed(again, 9)
    assert (await keyed(again, 0)).machine.novita_id == kept.machine.novita_id
    await again.advance(seconds=1)
    assert len(await again.service.orphans()) == 5
    await again.advance(minutes=1)
    found = [await keyed(again, number) for number in range(1, 6)]
    assert [row.machine.novita_id for row in found] == [row.machine.novita_id for row in newer]
    assert [await keyed(again, number) for number in range(1, 6)] == found
    assert {row.status for row in found} == {Status.RUNNING}
    assert {row.order.template_id for row in found} == {ORDER.template_id}
    assert await again.history(found[0].id) == ["created", "running"]
    await again.advance(minutes=5)
    assert sorted(again.machines()) == before
    assert await again.service.orphans() == ()
    assert again.calls("create") == 6
    assert await again.broken_at_rest() == []
    fresh = await keyed(again, 7)
    assert fresh.machine.novita_id not in before


async def test_two_complete_looks_and_no_fewer_let_a_restored_store_take_orders(
    rig: Rig, restore: Restore, tmp_path: Path
) -> None:
    await rig.running()
    again = await restored_from(rig, restore, copy(rig, tmp_path / "copy.db"))
    again.fault("reset", "list", when="before")
    await again.advance(minutes=3)
    with pytest.raises(StoreRestored):
        await again.order()
    health = await again.service.health(is_brief=True)
    assert not health.is_ready
    assert "2 more complete looks" in health.problems[0]
    again.world.faults.clear()
    await again.engine.sweep.look()
    assert "1 more complete look at" in (await again.service.health()).problems[0]
    assert (await again.service.health()).body["orphans"] == 0
    await again.engine.sweep.look()
    assert (await again.service.health()).is_ready
    assert (await again.order()).machine.novita_id is not None


async def test_a_person_has_a_restored_store_take_orders_at_once(
    rig: Rig, restore: Restore, tmp_path: Path
) -> None:
    again = await restored_from(rig, restore, copy(rig, tmp_path / "copy.db"))
    await again.database.write(facts.accept_orders)
    assert (await again.order()).machine.novita_id is not None


async def test_an_order_that_was_open_in_the_backup_takes_the_machine_that_it_bought_since(
    rig: Rig, restore: Restore, tmp_path: Path
) -> None:
    impatient = replace(
        rig.service.ordering, buyer=BuyerElsewhere(), patience=rig.clock() - rig.clock()
    )
    ordered, _ = await impatient.place(ORDER)
    old = copy(rig, tmp_path / "copy.db")
    await rig.advance(minutes=2)
    running = await rig.find(ordered.id)
    assert running.machine.novita_id is not None

    again = await restored_from(rig, restore, old)
    await again.advance(minutes=5)
    after = await again.find(ordered.id)
    assert (after.status, after.machine.novita_id) == (Status.RUNNING, running.machine.novita_id)
    assert again.calls("create") == 1
    assert await again.broken_at_rest() == []


async def test_an_order_that_was_open_and_bought_nothing_since_is_bought_after_the_looks(
    rig: Rig, restore: Restore, tmp_path: Path
) -> None:
    impatient = replace(
        rig.service.ordering, buyer=BuyerElsewhere(), patience=rig.clock() - rig.clock()
    )
    ordered, _ = await impatient.place(ORDER)
    again = await restored_from(rig, restore, copy(rig, tmp_path / "copy.db"))
    await again.work()
    assert again.calls("create") == 0
    await again.advance(minutes=3)
    assert (await again.find(ordered.id)).status is Status.RUNNING
    assert again.calls("create") == 1


async def test_a_machine_that_a_person_adopted_is_found_by_its_order_too(
    rig: Rig, restore: Restore, tmp_path: Path
) -> None:
    old = copy(rig, tmp_path / "copy.db")
    bought = await keyed(rig, 1)
    again = await restored_from(rig, restore, old)
    await again.advance(minutes=2)
    adopted = (await again.service.adopt(str(bought.machine.novita_id))).instance
    assert (await keyed(again, 1)).id == adopted.id
    assert (await keyed(again, 1)).id == adopted.id
    assert again.calls("create") == 1


@pytest.mark.parametrize("changes", [{"gpu_num": 2}, {"name": "another"}])
async def test_a_machine_that_cannot_be_of_the_order_is_not_given_to_it(
    rig: Rig, restore: Restore, tmp_path: Path, changes: dict[str, Any]
) -> None:
    old = copy(rig, tmp_path / "copy.db")
    await keyed(rig, 1)
    again = await restored_from(rig, restore, old)
    await again.advance(minutes=2)
    order = replace(ORDER, **{"name": "worker-1", **changes})
    with pytest.raises(KeyReused):
        await again.service.order(order, idempotency_key="job-1", body_hash="x")
    assert len(await again.service.orphans()) == 1
    assert again.calls("create") == 1


async def test_a_machine_that_a_person_adopted_is_not_given_to_an_order_it_cannot_be_of(
    rig: Rig, restore: Restore, tmp_path: Path
) -> None:
    old = copy(rig, tmp_path / "copy.db")
    bought = await keyed(rig, 1)
    again = await restored_from(rig, restore, old)
    await again.advance(minutes=2)
    await again.service.adopt(str(bought.machine.novita_id))
    with pytest.raises(KeyReused):
        await keyed(again, 1, gpu_num=2)
    assert (await keyed(again, 1)).machine.novita_id == bought.machine.novita_id
    assert again.calls("create") == 1


async def test_an_order_that_failed_and_is_sent_again_is_found_as_well(
    rig: Rig, restore: Restore, tmp_path: Path
) -> None:
    rig.fault("reset", "products", when="before")
    with pytest.raises(Exception, match="Novita"):
        await keyed(rig, 1)
    rig.world.faults.clear()
    old = copy(rig, tmp_path / "copy.db")
    bought = await keyed(rig, 1)
    again = await restored_from(rig, restore, old)
    await again.advance(minutes=2)
    assert (await keyed(again, 1)).machine.novita_id == bought.machine.novita_id
    assert again.calls("create") == 1


async def test_of_two_machines_of_one_order_the_older_is_found_and_the_other_left_to_a_person(
    rig: Rig, restore: Restore, tmp_path: Path
) -> None:
    old = copy(rig, tmp_path / "copy.db")
    bought = await keyed(rig, 1)
    await rig.advance(minutes=1)
    add_foreign_machines(rig.world, ForeignMachines(name=bought.novita_name))
    again = await restored_from(rig, restore, old)
    await again.advance(minutes=2)
    assert (await keyed(again, 1)).machine.novita_id == bought.machine.novita_id
    await again.advance(minutes=5)
    assert len(await again.service.orphans()) == 1
    assert again.calls("delete") == 0


async def test_a_repeated_order_finds_its_machine_although_nothing_is_for_sale_any_more(
    rig: Rig, restore: Restore, tmp_path: Path
) -> None:
    old = copy(rig, tmp_path / "copy.db")
    newer = await keyed(rig, 1)
    await rig.advance(minutes=2)
    again = await restored_from(rig, restore, old)
    await again.advance(minutes=2)
    for product in list(again.world.products.values()):
        again.world.products[product.id] = replace(product, can_deploy=False)
    assert (await keyed(again, 1)).machine.novita_id == newer.machine.novita_id
    assert again.calls("create") == 1
