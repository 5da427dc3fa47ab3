"""A store that was lost as a whole: its machines are found by their mark, its own or another."""

import logging
from datetime import datetime, timedelta

import pytest

from gpukeeper.domain.errors import ForeignMachine, NotFound
from gpukeeper.domain.instances import Status
from gpukeeper.simulator.machines.interventions import ForeignMachines, add_foreign_machines
from gpukeeper.store import facts
from tests.engine.rig import Rig

THEIRS = "worker-gk0thr12345678"


async def born(rig: Rig, at: datetime) -> None:
    """Have the store made at this time."""
    await rig.database.write(lambda connection: facts.record_birth(connection, at))


async def lost_with_its_mark(rig: Rig) -> str:
    """Have a machine of a lost store that had another mark; the new store is ten minutes old."""
    (machine,) = add_foreign_machines(rig.world, ForeignMachines(name=THEIRS))
    await rig.advance(minutes=10)
    await born(rig, rig.clock())
    await rig.advance(minutes=3)
    return machine.id


async def test_a_new_store_warns_of_older_machines_with_another_mark(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        machine = await lost_with_its_mark(rig)
    (orphan,) = await rig.service.orphans()
    assert (orphan.novita_id, orphan.is_foreign) == (machine, True)
    assert (await rig.service.census()).orphans == 1
    assert "older than this store: 1" in " ".join((await rig.service.health()).body["warnings"])
    said = [record.msg for record in caplog.records if "orphan_found" in str(record.msg)]
    assert len(said) == 1
    assert rig.machines() == [machine]


async def test_a_machine_with_another_mark_is_adopted_when_a_person_says_so(rig: Rig) -> None:
    machine = await lost_with_its_mark(rig)
    with pytest.raises(ForeignMachine, match="-gkte5t"):
        await rig.service.adopt(machine)
    with pytest.raises(ForeignMachine):
        await rig.service.delete_orphan(machine)
    assert len(await rig.service.orphans()) == 1
    adopted = (await rig.service.adopt(machine, is_any_meant=True)).instance
    assert (adopted.status, adopted.order.name) == (Status.RUNNING, "worker")
    await rig.advance(minutes=3)
    assert (await rig.find(adopted.id)).status is Status.RUNNING
    assert await rig.service.orphans() == ()
    assert rig.machines() == [machine]


async def test_the_machines_of_a_neighbour_that_still_buys_are_left_alone(rig: Rig) -> None:
    await lost_with_its_mark(rig)
    add_foreign_machines(rig.world, ForeignMachines(name="other-gk0thr00000000"))
    await rig.advance(minutes=4)
    assert await rig.service.orphans() == ()


async def test_any_machine_of_the_account_is_adopted_by_its_id_when_it_is_meant(rig: Rig) -> None:
    (machine,) = add_foreign_machines(rig.world, ForeignMachines(name="made-in-the-console"))
    await rig.advance(minutes=3)
    with pytest.raises(NotFound):
        await rig.service.adopt(machine.id)
    with pytest.raises(NotFound, match="Novita knows no machine"):
        await rig.service.adopt("0123456789abcdef", is_any_meant=True)
    adopted = (await rig.service.adopt(machine.id, is_any_meant=True)).instance
    assert adopted.order.name == "made-in-the-console"
    with pytest.raises(NotFound):
        await rig.service.adopt(machine.id, is_any_meant=True)
    await rig.advance(minutes=3)
    assert (await rig.find(adopted.id)).status is Status.RUNNING


async def test_a_store_that_is_older_than_the_question_takes_no_neighbour_for_its_own(
    rig: Rig,
) -> None:
    add_foreign_machines(rig.world, ForeignMachines(name=THEIRS))
    await rig.advance(minutes=10)
    assert await rig.service.orphans() == ()


async def test_when_a_store_was_made_is_told_once(rig: Rig) -> None:
    first = rig.clock()
    await born(rig, first)
    await born(rig, first + timedelta(days=1))
    assert await rig.database.read(facts.find_birth) == first
