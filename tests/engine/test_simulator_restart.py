"""A simulator that begins anew beside an old store makes no ghosts of its machines."""

import logging

import pytest

from gpukeeper.domain.instances import Status
from tests.engine.rig import Rig


async def test_the_machines_of_a_simulator_that_began_anew_are_lost_at_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [await rig.running(name=f"worker-{number}") for number in range(5)]
    rig.world.reset(rig.world.settings)
    with caplog.at_level(logging.WARNING):
        await rig.advance(minutes=5)
    assert [(await rig.find(row.id)).status for row in rows] == [Status.LOST] * 5
    said = [record for record in caplog.records if "simulator_began_anew" in str(record.msg)]
    assert said
    assert not (await rig.service.health()).body["novita"]["fleetVanished"]


async def test_machines_that_vanish_from_the_same_world_are_an_incident(rig: Rig) -> None:
    rows = [await rig.running(name=f"worker-{number}") for number in range(5)]
    rig.world.machines.clear()
    await rig.advance(minutes=5)
    assert [(await rig.find(row.id)).status for row in rows] == [Status.RUNNING] * 5
