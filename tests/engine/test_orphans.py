"""Orphans: machines with our mark that the store does not know; others are left alone."""

from gpukeeper.domain.instances import Command, DesiredState, Status
from gpukeeper.simulator.machines.interventions import ForeignMachines, add_foreign_machines
from tests.engine.rig import Rig

OURS = "worker-gkte5t12345678"


async def test_a_machine_with_our_mark_is_an_orphan_after_the_grace(rig: Rig) -> None:
    add_foreign_machines(rig.world, ForeignMachines(name=OURS))
    await rig.advance(seconds=61)
    assert await rig.service.orphans() == ()
    await rig.advance(minutes=3)
    (orphan,) = await rig.service.orphans()
    assert orphan.name == OURS


async def test_machines_of_others_are_never_touched(rig: Rig) -> None:
    add_foreign_machines(rig.world, ForeignMachines(name="worker"))
    add_foreign_machines(rig.world, ForeignMachines(name="worker-gkothr12345678"))
    await rig.advance(minutes=5)
    assert await rig.service.orphans() == ()
    assert len(rig.machines()) == 2


# Names that people, other deployments and other programs give.
STRANGERS = [
    "worker",
    "worker-1",
    "gkte5t12345678",
    "worker-gkte5t1234567",
    "worker-gkte5t123456789",
    "worker-gkte5t1234567u",
    "worker-gkte5t12345678-copy",
    "worker-gkTE5T12345678",
    "worker_gkte5t12345678",
    "worker-gkte6t12345678",
    "worker-gk0000te5t1234",
    "worker-gkte5t",
]


async def test_machines_of_other_deployments_and_people_are_never_touched(rig: Rig) -> None:
    for name in STRANGERS:
        for status in ("running", "exited", "pulling"):
            add_foreign_machines(rig.world, ForeignMachines(name=name, status=status))
    running = await rig.running()
    await rig.service.want(running.id, Command.STOP)
    await rig.advance(hours=2)
    assert await rig.service.orphans() == ()
    assert len(rig.machines()) == 3 * len(STRANGERS) + 1
    assert rig.calls("stop") == 1
    assert rig.calls("start") + rig.calls("restart") + rig.calls("delete") == 0
    strangers = [m for m in rig.world.machines.values() if m.id != running.machine.novita_id]
    assert all(len(machine.moments) == 1 for machine in strangers)


async def test_orphans_of_one_long_name_can_be_adopted_each(rig: Rig) -> None:
    name = "w" * 100 + "-gkte5t12345678"
    add_foreign_machines(rig.world, ForeignMachines(name=name))
    add_foreign_machines(rig.world, ForeignMachines(name=name))
    await rig.advance(minutes=5)
    orphans = await rig.service.orphans()
    adopted = [(await rig.service.adopt(orphan.novita_id)).instance for orphan in orphans]
    assert len({row.novita_name for row in adopted}) == 2
    await rig.advance(minutes=3)
    assert [(await rig.find(row.id)).status for row in adopted] == [Status.RUNNING] * 2


async def test_an_orphan_can_be_adopted(rig: Rig) -> None:
    (machine,) = add_foreign_machines(rig.world, ForeignMachines(name=OURS))
    await rig.advance(minutes=4)
    adopted = (await rig.service.adopt(machine.id)).instance
    assert adopted.status is Status.RUNNING
    assert adopted.order.name == "worker"
    await rig.advance(minutes=3)
    assert (await rig.find(adopted.id)).status is Status.RUNNING
    assert await rig.service.orphans() == ()


async def test_a_stopped_orphan_is_adopted_without_being_started(rig: Rig) -> None:
    (machine,) = add_foreign_machines(rig.world, ForeignMachines(name=OURS, status="exited"))
    await rig.advance(minutes=4)
    adopted = (await rig.service.adopt(machine.id)).instance
    assert (adopted.status, adopted.desired_state) == (Status.STOPPED, DesiredState.STOPPED)
    await rig.advance(minutes=3)
    assert (await rig.find(adopted.id)).status is Status.STOPPED
    assert await rig.history(adopted.id) == ["created", "stopped"]
    assert rig.calls("start") == 0
    await rig.service.want(adopted.id, Command.START)
    await rig.advance(minutes=3)
    assert (await rig.find(adopted.id)).status is Status.RUNNING


async def test_an_orphan_can_be_deleted_and_is_followed_until_it_is_gone(rig: Rig) -> None:
    (machine,) = add_foreign_machines(rig.world, ForeignMachines(name=OURS))
    await rig.advance(minutes=4)
    deleted = (await rig.service.delete_orphan(machine.id)).instance
    await rig.advance(minutes=3)
    assert (await rig.find(deleted.id)).status is Status.DELETED
    assert rig.machines() == []


async def test_an_orphan_that_went_away_is_forgotten(rig: Rig) -> None:
    (machine,) = add_foreign_machines(rig.world, ForeignMachines(name=OURS))
    await rig.advance(minutes=4)
    del rig.world.machines[machine.id]
    await rig.advance(minutes=3)
    assert await rig.service.orphans() == ()
