"""Whatever Novita does to a spot machine: the right status, and each event exactly once."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from gpukeeper.domain.instances import Command, Instance, Status
from gpukeeper.domain.products import BillingMode
from tests.engine.rig import QUICK, Rig

NOTIFIED, RECLAIMED = "reclaim_notified", "reclaimed"
# Long enough to be seen in a look, or too short.
SLOW_RECLAIM = {**QUICK, "reclaiming": (90, 90)}
QUICK_RECLAIM = {**QUICK, "reclaiming": (1, 1)}

Did = tuple[str, dict[str, Any], float]


def notice(minutes: float, *, in_seconds: float | None = None) -> Did:
    """Let Novita announce a reclaim, and some time pass."""
    return "spot-notice", {"in_seconds": in_seconds}, minutes


def does(action: str, minutes: float, **details: Any) -> Did:
    """Let Novita do something, and some time pass."""
    return action, details, minutes


@dataclass(frozen=True, slots=True)
class Case:
    """What is done to a running spot machine, and what has to come of it."""

    does: list[Did]
    status: Status
    told: list[str]
    code: str | None = None
    reclaim_in_seconds: float | None = None
    is_watched: bool = True
    switches: dict[str, Any] = field(default_factory=dict)


CASES = {
    "a notice with a time": Case(
        [notice(2, in_seconds=3600)], Status.RUNNING, [NOTIFIED], reclaim_in_seconds=3480
    ),
    "a notice without a time": Case([notice(10)], Status.RUNNING, [NOTIFIED]),
    "a notice that gets its time later": Case(
        [notice(3), notice(2, in_seconds=3600)],
        Status.RUNNING,
        [NOTIFIED],
        reclaim_in_seconds=3480,
    ),
    "a notice that loses its time": Case(
        [notice(3, in_seconds=3600), notice(3)], Status.RUNNING, [NOTIFIED]
    ),
    "a notice that is moved to an earlier time": Case(
        [notice(2, in_seconds=7200), notice(2, in_seconds=1200)],
        Status.RUNNING,
        [NOTIFIED],
        reclaim_in_seconds=1080,
    ),
    "a notice that is moved to a later time": Case(
        [notice(2, in_seconds=600), notice(12, in_seconds=7200)],
        Status.RUNNING,
        [NOTIFIED],
        reclaim_in_seconds=6480,
    ),
    "a notice that is withdrawn": Case(
        [notice(3, in_seconds=900), does("withdraw-notice", 30)], Status.RUNNING, [NOTIFIED]
    ),
    "a notice that is withdrawn and given again": Case(
        [notice(3, in_seconds=900), does("withdraw-notice", 3), notice(3, in_seconds=900)],
        Status.RUNNING,
        [NOTIFIED, NOTIFIED],
        reclaim_in_seconds=720,
    ),
    "a reclaim at the time of its notice": Case(
        [notice(20, in_seconds=600)], Status.RECLAIMED, [NOTIFIED, RECLAIMED], "reclaimed"
    ),
    "a reclaim whose notice had no time": Case(
        [notice(90)], Status.RECLAIMED, [NOTIFIED, RECLAIMED], "reclaimed"
    ),
    "a reclaim at the time that its notice was moved to": Case(
        [notice(2, in_seconds=7200), notice(10, in_seconds=300)],
        Status.RECLAIMED,
        [NOTIFIED, RECLAIMED],
        "reclaimed",
    ),
    "a reclaim that is seen under way and was not announced": Case(
        [does("reclaim", 10)],
        Status.RECLAIMED,
        [NOTIFIED, RECLAIMED],
        "reclaimed",
        switches={"phase_seconds": SLOW_RECLAIM},
    ),
    "a reclaim that is over before anybody looks": Case(
        [does("reclaim", 10)],
        Status.RECLAIMED,
        [RECLAIMED],
        "reclaimed",
        switches={"phase_seconds": QUICK_RECLAIM},
    ),
    "an exit without notice": Case(
        [does("reclaim", 10, notice=False)], Status.RECLAIMED, [RECLAIMED], "exited_without_notice"
    ),
    "an exit of its process": Case(
        [does("exit", 10)], Status.RECLAIMED, [RECLAIMED], "exited_without_notice"
    ),
    "a machine that is gone instead of exited after its notice": Case(
        [notice(3, in_seconds=3600), does("vanish", 10)],
        Status.RECLAIMED,
        [NOTIFIED, RECLAIMED],
        "reclaimed",
        is_watched=False,
    ),
    "a machine that is gone by its reclaim as announced": Case(
        [notice(20, in_seconds=600)],
        Status.RECLAIMED,
        [NOTIFIED, RECLAIMED],
        "reclaimed",
        is_watched=False,
        switches={"spot_end": "vanished"},
    ),
    "a machine that is gone without a notice": Case(
        [does("vanish", 10)], Status.LOST, ["lost"], "gone_at_novita", is_watched=False
    ),
    "a machine that is gone long after its reclaim": Case(
        [notice(20, in_seconds=600), does("vanish", 30)],
        Status.RECLAIMED,
        [NOTIFIED, RECLAIMED],
        "reclaimed",
        is_watched=False,
    ),
}


async def live_through(rig: Rig, running: Instance, case: Case, *, refreshes: bool) -> None:
    """Do what the case says; a caller who refreshes every minute must change nothing."""
    for action, details, minutes in case.does:
        rig.console(running, action, **details)
        for _ in range(round(minutes)):
            await rig.advance(minutes=1)
            if refreshes:
                await rig.service.instance(running.id, refresh=True)


@pytest.mark.parametrize(("spot_in_get", "refreshes"), [(True, False), (True, True), (False, True)])
@pytest.mark.parametrize("name", CASES)
async def test_a_spot_machine_has_the_right_status_and_each_event_once(
    rig: Rig, name: str, spot_in_get: bool, refreshes: bool
) -> None:
    case = CASES[name]
    rig.switch(spot_in_get=spot_in_get, **case.switches)
    running = await rig.running()
    before = await rig.history(running.id)
    await live_through(rig, running, case, refreshes=refreshes)
    after = await rig.find(running.id)
    assert (await rig.history(running.id))[len(before) :] == case.told
    assert (after.status, after.is_watched) == (case.status, case.is_watched)
    assert (after.reason.code if after.reason else None) == case.code
    if case.status is Status.RUNNING:
        left = after.machine.reclaim_at and (after.machine.reclaim_at - rig.clock()).total_seconds()
        assert left == case.reclaim_in_seconds
    assert await rig.broken_at_rest() == []


@pytest.mark.parametrize("verb", [Command.STOP, Command.DELETE])
async def test_a_noticed_machine_that_its_owner_ends_was_not_reclaimed(
    rig: Rig, verb: Command
) -> None:
    running = await rig.running()
    rig.console(running, "spot-notice", in_seconds=3600)
    await rig.advance(minutes=2)
    await rig.service.want(running.id, verb)
    await rig.advance(minutes=5)
    history = await rig.history(running.id)
    assert history.count(NOTIFIED) == 1
    assert RECLAIMED not in history
    expected = {Command.STOP: Status.STOPPED, Command.DELETE: Status.DELETED}
    assert (await rig.find(running.id)).status is expected[verb]
    assert await rig.broken_at_rest() == []


async def test_the_next_life_of_a_reclaimed_machine_has_notices_of_its_own(rig: Rig) -> None:
    rig.switch(start_refused_after_reclaim=0.0)
    running = await rig.running()
    for _ in range(2):
        rig.console(running, "spot-notice", in_seconds=300)
        await rig.advance(minutes=10)
        assert (await rig.find(running.id)).status is Status.RECLAIMED
        await rig.service.want(running.id, Command.START)
        await rig.advance(minutes=5)
        assert (await rig.find(running.id)).status is Status.RUNNING
    history = await rig.history(running.id)
    assert history[4:] == [NOTIFIED, RECLAIMED, "starting", "running"] * 2
    assert await rig.broken_at_rest() == []


async def test_a_machine_on_demand_that_exits_was_stopped_and_not_reclaimed(rig: Rig) -> None:
    running = await rig.running(billing_mode=BillingMode.ON_DEMAND)
    rig.console(running, "exit")
    await rig.advance(minutes=5)
    assert (await rig.find(running.id)).status is Status.STOPPED
    assert (await rig.history(running.id))[4:] == ["stopped"]


@pytest.mark.parametrize("spot_notice", ["given", "none", "zero"])
async def test_a_reclaim_by_novita_itself_is_told_once_however_it_is_announced(
    rig: Rig, spot_notice: str
) -> None:
    rig.switch(spot_notice=spot_notice)
    rig.fate("reclaim", after_seconds=60)
    ordered = await rig.order()
    await rig.advance(hours=3)
    history = await rig.history(ordered.id)
    assert (await rig.find(ordered.id)).status is Status.RECLAIMED
    assert history.count(RECLAIMED) == 1
    assert history.count(NOTIFIED) == (spot_notice != "none")
    assert await rig.broken_at_rest() == []
