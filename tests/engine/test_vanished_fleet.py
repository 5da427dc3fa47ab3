"""A machine that is gone is announced at the next look."""

import pytest

from gpukeeper.domain.instances import Status
from tests.engine.rig import Rig

# The longest pause between two looks, and the second question after the first answer.
A_LOOK = {"seconds": 65}


@pytest.mark.parametrize("is_found", [True, False])
async def test_a_running_machine_that_is_gone_is_announced_at_the_next_look(
    rig: Rig, is_found: bool
) -> None:
    running = await rig.running()
    rig.switch(removed_in_get=is_found)
    rig.console(running, "vanish")
    await rig.advance(**A_LOOK)
    lost = await rig.find(running.id)
    assert (lost.status, lost.may_be_billed, lost.machine.novita_status) == (
        Status.LOST,
        False,
        None,
    )
    assert (await rig.history(running.id))[-1] == "lost"


async def test_a_machine_that_vanishes_while_starting_has_failed_at_the_next_look(
    rig: Rig,
) -> None:
    ordered = await rig.order()
    await rig.advance(seconds=35)
    rig.console(await rig.find(ordered.id), "vanish")
    await rig.advance(**A_LOOK)
    failed = await rig.find(ordered.id)
    assert (failed.status, failed.may_be_billed) == (Status.FAILED, False)
    assert failed.reason is not None
    assert failed.reason.code == "gone_at_novita"
    assert (await rig.history(ordered.id))[-1] == "failed"


async def test_of_a_fleet_that_is_listed_as_removed_all_at_once_nothing_is_concluded(
    rig: Rig,
) -> None:
    rows = [await rig.running(name=f"worker-{number}") for number in range(5)]
    for row in rows:
        rig.console(row, "vanish")
    await rig.advance(minutes=5)
    assert {(await rig.find(row.id)).status for row in rows} == {Status.RUNNING}
