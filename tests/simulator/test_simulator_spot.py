"""Spot machines: notice, reclaim, and the ways in which they are not as promised."""

import pytest

from tests.simulator.simulator_driver import Novita


async def signal(novita: Novita, machine_id: str) -> tuple[str, str, str]:
    """Return status, spot status and reclaim time as get shows them."""
    found = await novita.get(machine_id)
    return found["status"], found["spotStatus"], found["spotReclaimTime"]


async def test_a_notice_is_followed_by_the_reclaim(novita: Novita) -> None:
    machine_id = await novita.running()
    assert await signal(novita, machine_id) == ("running", "running", "0")

    await novita.act(machine_id, "spot-notice", in_seconds=600)

    told = str(1785542400 + 15 + 600)
    assert await signal(novita, machine_id) == ("running", "notified", told)
    await novita.advance(600)
    assert await signal(novita, machine_id) == ("running", "reclaiming", told)
    await novita.advance(5)
    assert await signal(novita, machine_id) == ("exited", "terminated", told)


async def test_a_notice_may_come_without_a_time(novita: Novita) -> None:
    machine_id = await novita.running()
    await novita.act(machine_id, "spot-notice")
    assert await signal(novita, machine_id) == ("running", "notified", "0")
    await novita.advance(3605)
    assert (await signal(novita, machine_id))[0] == "exited"


async def test_a_notice_can_be_moved_and_withdrawn(novita: Novita) -> None:
    machine_id = await novita.running()
    await novita.act(machine_id, "spot-notice", in_seconds=600)
    await novita.advance(300)
    await novita.act(machine_id, "spot-notice", in_seconds=1000)
    assert await signal(novita, machine_id) == ("running", "notified", str(1785542400 + 1315))

    await novita.act(machine_id, "withdraw-notice")

    assert await signal(novita, machine_id) == ("running", "running", "0")
    await novita.advance(86400)
    assert (await signal(novita, machine_id))[0] == "running"


async def test_a_reclaim_that_was_withdrawn_does_not_stop_a_boot(novita: Novita) -> None:
    machine_id = await novita.create()
    await novita.advance(5)
    await novita.act(machine_id, "spot-notice", in_seconds=2)
    await novita.act(machine_id, "withdraw-notice")
    await novita.advance(10)
    assert (await signal(novita, machine_id))[0] == "running"


async def test_a_restart_does_not_undo_a_notice(novita: Novita) -> None:
    machine_id = await novita.running()
    await novita.act(machine_id, "spot-notice", in_seconds=600)
    await novita.advance(10)
    await novita.verb("restart", machine_id)
    await novita.advance(10)
    assert (await signal(novita, machine_id))[:2] == ("running", "notified")
    await novita.advance(600)
    assert (await signal(novita, machine_id))[:2] == ("exited", "terminated")


@pytest.mark.parametrize(
    ("notice", "vanish", "now", "later"),
    [
        (True, False, "running", "exited"),
        (False, False, "exited", "exited"),
        (True, True, "404", "404"),
        (False, True, "404", "404"),
    ],
)
async def test_a_machine_is_reclaimed_at_once(
    novita: Novita, notice: bool, vanish: bool, now: str, later: str
) -> None:
    machine_id = await novita.running()
    await novita.act(machine_id, "reclaim", notice=notice, vanish=vanish)
    assert await novita.status(machine_id) == now
    await novita.advance(5)
    assert await novita.status(machine_id) == later


async def test_a_reclaim_without_notice_leaves_no_trace_in_the_spot_fields(
    novita: Novita,
) -> None:
    machine_id = await novita.running()
    await novita.act(machine_id, "reclaim", notice=False)
    assert await signal(novita, machine_id) == ("exited", "", "0")


async def test_a_machine_can_be_reclaimed_in_the_instant_of_its_creation(
    novita: Novita,
) -> None:
    machine_id = await novita.create()
    await novita.act(machine_id, "reclaim", notice=False)
    assert await novita.status(machine_id) == "exited"


async def test_spot_machines_are_taken_back_by_themselves_after_the_guarantee() -> None:
    novita = Novita(spot_lifetime_seconds=60, spot_guaranteed_seconds=3600)
    ids = [await novita.create() for _ in range(20)]
    await novita.advance(3600)
    assert {(await signal(novita, item))[1] for item in ids} == {"running"}
    await novita.advance(1000)
    assert {(await signal(novita, item))[1] for item in ids} == {"notified"}
    await novita.advance(3600)
    assert {(await signal(novita, item))[:2] for item in ids} == {("exited", "terminated")}


@pytest.mark.parametrize(
    ("notice", "end", "before", "after"),
    [
        ("none", "exited", ("running", "running", "0"), "exited"),
        ("zero", "exited", ("running", "notified", "0"), "exited"),
        ("none", "vanished", ("running", "running", "0"), "404"),
    ],
)
async def test_what_is_told_of_a_reclaim_is_a_setting(
    notice: str, end: str, before: tuple[str, str, str], after: str
) -> None:
    novita = Novita(spot_notice=notice, spot_end=end)
    await novita.sim("POST", "/next", {"kind": "reclaim", "after_seconds": 60})
    machine_id = await novita.running()
    await novita.advance(61)
    assert await signal(novita, machine_id) == before
    await novita.advance(3605)
    assert await novita.status(machine_id) == after


async def test_a_reclaimed_machine_can_mostly_not_be_started_again() -> None:
    novita = Novita(start_refused_after_reclaim=1.0)
    machine_id = await novita.running()
    await novita.act(machine_id, "reclaim")
    await novita.advance(5)
    assert (await novita.verb("start", machine_id)).json()["reason"] == "INSUFFICIENT_RESOURCE"

    await novita.sim("PATCH", "/settings", {"start_refused_after_reclaim": 0})
    assert (await novita.verb("start", machine_id)).status_code == 200
    await novita.advance(2)
    assert await signal(novita, machine_id) == ("running", "running", "0")


async def test_a_machine_on_demand_has_no_spot_fields_and_is_never_reclaimed() -> None:
    novita = Novita(spot_lifetime_seconds=1, spot_guaranteed_seconds=0)
    machine_id = await novita.running(billingMode="onDemand")
    await novita.advance(86400)
    assert await signal(novita, machine_id) == ("running", "", "0")


async def test_a_stop_calls_the_reclaim_off(novita: Novita) -> None:
    machine_id = await novita.running()
    await novita.act(machine_id, "spot-notice", in_seconds=600)
    await novita.verb("stop", machine_id)
    await novita.advance(3600)
    assert await signal(novita, machine_id) == ("exited", "", "0")
