"""Names that Novita cuts or changes are noticed, and nothing is bought twice because of them."""

import pytest
from structlog.testing import capture_logs

from gpukeeper.domain.instances import Status
from tests.engine.rig import Rig

CHANGES = [{"name_max_chars": 12}, {"name_case": "upper"}]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_name_that_is_not_the_one_that_was_sent_is_an_error_in_the_log_once(
    rig: Rig, change: dict[str, object]
) -> None:
    rig.switch(**change)
    with capture_logs() as logs:
        running = await rig.running()
        await rig.advance(minutes=10)
    told = [line for line in logs if line["event"] == "name_altered"]
    assert [(line["log_level"], line["sent"]) for line in told] == [("error", running.novita_name)]
    assert (
        running.machine.name_at_novita
        == rig.world.machines[str(running.machine.novita_id)].order.name
    )


async def test_a_name_that_is_kept_is_nothing_to_tell(rig: Rig) -> None:
    assert (await rig.running()).machine.name_at_novita is None


@pytest.mark.parametrize("change", CHANGES)
async def test_no_second_machine_is_bought_while_one_may_be_ours_under_another_name(
    rig: Rig, change: dict[str, object]
) -> None:
    rig.switch(**change)
    rig.fault("reset", "create", when="after", times=1)
    ordered = await rig.order()
    with capture_logs() as logs:
        await rig.advance(minutes=30)
    held = await rig.find(ordered.id)
    (machine,) = rig.machines()
    assert rig.calls("create") == 1
    assert (held.status, held.may_be_billed) == (Status.FAILED, True)
    assert held.reason is not None
    assert held.reason.code == "name_altered"
    assert machine in held.reason.message
    assert [line["event"] for line in logs].count("name_altered") == 1


async def test_another_machine_of_a_like_name_does_not_hold_an_order_back(rig: Rig) -> None:
    await rig.running()
    rig.switch(name_max_chars=7)
    other = await rig.running()
    rig.fault("reset", "create", when="before", times=1)
    ordered = await rig.order()
    await rig.advance(minutes=6)
    assert (await rig.find(ordered.id)).status is Status.RUNNING
    assert len(rig.machines()) == 3
    assert other.machine.novita_id in rig.machines()


async def test_an_order_goes_on_once_the_machine_that_held_it_back_is_gone(rig: Rig) -> None:
    rig.switch(name_case="upper")
    rig.fault("reset", "create", when="after", times=1)
    ordered = await rig.order()
    await rig.advance(minutes=3)
    held = await rig.find(ordered.id)
    assert held.reason is not None
    (machine,) = rig.machines()
    await rig.novita.delete(machine)
    rig.switch(name_case="kept")
    await rig.advance(minutes=5)
    running = await rig.find(ordered.id)
    assert (running.status, running.reason) == (Status.RUNNING, None)
    assert len(rig.machines()) == 1
