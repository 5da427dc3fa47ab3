"""Novita gives a machine the id of an older one, as a simulator that was restarted does."""

from datetime import timedelta

import pytest

from gpukeeper.domain.instances import Command, Instance, Status
from tests.engine.rig import Rig


async def replaced(rig: Rig) -> Instance:
    """Return a running instance whose machine, id and all, belongs to a world that is no more."""
    held = await rig.running(name="older")
    rig.world.reset(rig.world.settings)
    return held


async def is_sound(rig: Rig, sold: Instance, older: Instance) -> bool:
    """Whether the newer order has the machine and its id, and nothing else has either."""
    await rig.advance(minutes=3)
    newer = await rig.find(sold.id)
    assert (newer.status, newer.machine.novita_id) == (Status.RUNNING, older.machine.novita_id)
    assert rig.machines() == [newer.machine.novita_id]
    assert (await rig.find(older.id)).machine.novita_id is None
    return await rig.broken_at_rest() == []


async def test_an_order_keeps_the_machine_that_it_was_sold_under_an_older_ones_id(
    rig: Rig,
) -> None:
    older = await replaced(rig)
    sold = await rig.order(name="newer")
    assert (sold.status, sold.machine.novita_id) == (Status.CREATING, older.machine.novita_id)
    given_up = await rig.find(older.id)
    assert given_up.status is Status.LOST
    assert given_up.reason is not None
    assert sold.id in given_up.reason.message
    assert (await rig.history(older.id))[-1] == "lost"
    await rig.service.want(older.id, Command.DELETE)
    assert await is_sound(rig, sold, older)
    assert (await rig.find(older.id)).status is Status.DELETED
    assert rig.calls("delete") == 0


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_an_older_instance_that_has_ended_stays_as_it_ended(
    rig: Rig, is_deleted: bool
) -> None:
    older = await replaced(rig)
    if is_deleted:
        await rig.service.want(older.id, Command.DELETE)
    await rig.advance(minutes=5)
    ended = await rig.find(older.id)
    history = await rig.history(older.id)
    sold = await rig.order(name="newer")
    assert await is_sound(rig, sold, older)
    still = await rig.find(older.id)
    assert (still.status, still.machine.gone_at) == (ended.status, ended.machine.gone_at)
    assert await rig.history(older.id) == history


async def test_an_older_instance_that_is_being_deleted_is_deleted(rig: Rig) -> None:
    older = await replaced(rig)
    rig.fault("html", "delete", status=503, for_seconds=600)
    rig.fault("html", "get", status=503, for_seconds=600)
    await rig.service.want(older.id, Command.DELETE)
    sold = await rig.order(name="newer")
    assert (await rig.find(older.id)).status is Status.DELETED
    assert await is_sound(rig, sold, older)


async def test_a_machine_that_is_looked_up_has_its_id_too(rig: Rig) -> None:
    older = await replaced(rig)
    rig.fault("reset", "create", when="after", times=1)
    lost = await rig.order(name="newer")
    assert lost.machine.novita_id is None
    rig.clock.at += timedelta(seconds=5)
    await rig.work()
    assert await is_sound(rig, await rig.find(lost.id), older)
