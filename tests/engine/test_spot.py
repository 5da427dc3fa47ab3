"""Spot machines: the notice, its withdrawal, the reclaim with and without notice."""

from gpukeeper.domain.instances import Status
from gpukeeper.domain.machines import SpotSignal
from tests.engine.rig import Rig


async def test_a_notice_is_told_once_and_its_time_shown(rig: Rig) -> None:
    running = await rig.running()
    rig.console(running, "spot-notice", in_seconds=3600)
    await rig.advance(minutes=10)
    noticed = await rig.find(running.id)
    assert noticed.status is Status.RUNNING
    assert noticed.machine.reclaim_at is not None
    assert (await rig.history(running.id)).count("reclaim_notified") == 1


async def test_a_notice_without_a_time_is_a_notice(rig: Rig) -> None:
    running = await rig.running()
    rig.console(running, "spot-notice")
    await rig.advance(minutes=3)
    noticed = await rig.find(running.id)
    assert noticed.machine.spot_signal is SpotSignal.NOTIFIED
    assert noticed.machine.reclaim_at is None
    assert (await rig.history(running.id)).count("reclaim_notified") == 1


async def test_a_withdrawn_notice_is_forgotten_and_the_next_one_told(rig: Rig) -> None:
    running = await rig.running()
    rig.console(running, "spot-notice", in_seconds=3600)
    await rig.advance(minutes=3)
    rig.console(running, "withdraw-notice")
    await rig.advance(minutes=3)
    assert (await rig.find(running.id)).machine.spot_signal is SpotSignal.NONE
    rig.console(running, "spot-notice", in_seconds=7200)
    await rig.advance(minutes=3)
    assert (await rig.history(running.id)).count("reclaim_notified") == 2


async def test_a_reclaim_after_its_notice(rig: Rig) -> None:
    running = await rig.running()
    rig.console(running, "spot-notice", in_seconds=600)
    await rig.advance(minutes=15)
    taken = await rig.find(running.id)
    assert taken.status is Status.RECLAIMED
    assert (await rig.history(running.id))[-2:] == ["reclaim_notified", "reclaimed"]


async def test_a_reclaim_without_notice(rig: Rig) -> None:
    running = await rig.running()
    rig.console(running, "reclaim", notice=False)
    await rig.advance(minutes=5)
    taken = await rig.find(running.id)
    assert taken.status is Status.RECLAIMED
    assert taken.reason is not None
    assert taken.reason.code == "exited_without_notice"


async def test_a_noticed_machine_that_vanishes_was_taken_back(rig: Rig) -> None:
    running = await rig.running()
    rig.console(running, "spot-notice", in_seconds=300)
    await rig.advance(minutes=3)
    rig.console(running, "vanish")
    await rig.advance(minutes=5)
    taken = await rig.find(running.id)
    assert taken.status is Status.RECLAIMED
    assert not taken.is_watched


async def test_a_signal_that_only_the_list_has_is_not_lost_by_a_refresh(rig: Rig) -> None:
    rig.switch(spot_in_get=False)
    running = await rig.running()
    rig.console(running, "spot-notice", in_seconds=3600)
    await rig.advance(minutes=3)
    view = await rig.service.instance(running.id, refresh=True)
    assert view.instance.machine.spot_signal is SpotSignal.NOTIFIED
    await rig.advance(minutes=3)
    assert (await rig.history(running.id)).count("reclaim_notified") == 1
