"""Spot machines: the notice with and without a time, withdrawn and moved; the reclaim with none."""

from dataclasses import replace
from typing import Any

import pytest

from gpukeeper.domain.events import Change, EventType
from gpukeeper.domain.instances import Command, DesiredState, Instance, Reason, Status
from gpukeeper.domain.lifecycle.commands import request_command
from gpukeeper.domain.lifecycle.observations import observe
from gpukeeper.domain.machines import Phase, SpotSignal
from tests.domain.builders import LIMITS, MINUTE, NOW, ON_DEMAND, instance, seen
from tests.instances import edit

NOTIFIED: dict[str, Any] = {"spot_signal": SpotSignal.NOTIFIED, "reclaim_at": NOW + 60 * MINUTE}
RUNNING = instance(Status.RUNNING)
RECLAIMED = Reason("reclaimed", "Novita took the spot machine back.")


def look(
    row: Instance, phase: Phase = Phase.UP, *, is_single: bool = False, **changes: Any
) -> Instance:
    return observe(row, seen(phase, **changes), NOW, LIMITS, is_single=is_single)


def told(before: Instance, after: Instance) -> list[EventType]:
    return list(Change(before, after, NOW).event_types)


@pytest.mark.parametrize("reclaim_at", [None, NOW + 60 * MINUTE])
@pytest.mark.parametrize("signal", [SpotSignal.NOTIFIED, SpotSignal.RECLAIMING])
def test_a_notice_is_told_once_with_or_without_a_time(signal: SpotSignal, reclaim_at: Any) -> None:
    noticed = look(RUNNING, spot_signal=signal, reclaim_at=reclaim_at)
    assert (noticed.status, noticed.machine.reclaim_at) == (Status.RUNNING, reclaim_at)
    assert told(RUNNING, noticed) == [EventType.RECLAIM_NOTIFIED]
    assert told(noticed, look(noticed, spot_signal=signal, reclaim_at=reclaim_at)) == []


def test_a_time_alone_is_a_notice_and_its_word_later_no_second_one() -> None:
    timed = look(RUNNING, reclaim_at=NOW + MINUTE)
    assert told(RUNNING, timed) == [EventType.RECLAIM_NOTIFIED]
    assert told(timed, look(timed, **NOTIFIED)) == []


def test_what_is_over_is_not_noticed_any_more() -> None:
    assert told(RUNNING, look(RUNNING, spot_signal=SpotSignal.TERMINATED, reclaim_at=NOW)) == []


def test_a_notice_that_is_moved_or_grows_serious_is_not_told_again() -> None:
    noticed = look(RUNNING, **NOTIFIED)
    moved = look(noticed, spot_signal=SpotSignal.NOTIFIED, reclaim_at=NOW + MINUTE)
    assert moved.machine.reclaim_at == NOW + MINUTE
    assert told(noticed, moved) == []
    assert told(moved, look(moved, spot_signal=SpotSignal.RECLAIMING)) == []


def test_a_withdrawn_notice_is_forgotten_and_the_next_one_told() -> None:
    withdrawn = look(look(RUNNING, **NOTIFIED))
    assert (withdrawn.machine.spot_signal, withdrawn.machine.reclaim_at) == (SpotSignal.NONE, None)
    assert told(withdrawn, look(withdrawn, **NOTIFIED)) == [EventType.RECLAIM_NOTIFIED]


def test_a_question_about_one_machine_does_not_withdraw_what_only_listings_say() -> None:
    noticed = look(RUNNING, **NOTIFIED)
    assert look(noticed, is_single=True).machine.spot_signal is SpotSignal.NOTIFIED
    assert look(noticed, is_single=True).machine.reclaim_at == NOW + 60 * MINUTE
    told_alone = look(RUNNING, is_single=True, **NOTIFIED)
    assert told_alone.machine.spot_signal is SpotSignal.NOTIFIED


@pytest.mark.parametrize(
    "signal", [SpotSignal.NOTIFIED, SpotSignal.RECLAIMING, SpotSignal.TERMINATED]
)
def test_an_exit_after_a_notice_is_a_reclaim(signal: SpotSignal) -> None:
    noticed = look(RUNNING, **NOTIFIED)
    taken = look(noticed, Phase.DOWN, spot_signal=signal)
    assert (taken.status, taken.reason) == (Status.RECLAIMED, RECLAIMED)
    assert told(noticed, taken) == [EventType.RECLAIMED]


def test_an_exit_whose_notice_was_never_seen_is_told_as_one_event() -> None:
    taken = look(RUNNING, Phase.DOWN, spot_signal=SpotSignal.RECLAIMING)
    assert told(RUNNING, taken) == [EventType.RECLAIMED]


def test_a_time_of_reclaim_is_enough_to_know_why_a_machine_exited() -> None:
    assert look(RUNNING, Phase.DOWN, reclaim_at=NOW).reason == RECLAIMED


def test_an_exit_without_notice_is_a_reclaim() -> None:
    row = look(RUNNING, Phase.DOWN)
    assert row.status is Status.RECLAIMED
    assert row.reason is not None
    assert row.reason.code == "exited_without_notice"


def test_an_exit_that_was_seen_going_down_is_a_stop_by_someone_else() -> None:
    row = look(look(RUNNING, Phase.GOING_DOWN), Phase.DOWN)
    assert (row.status, row.desired_state) == (Status.STOPPED, DesiredState.STOPPED)
    assert row.reason is not None
    assert row.reason.code == "stopped_elsewhere"


def test_an_exit_seen_on_its_way_with_a_signal_is_a_reclaim() -> None:
    falling = look(RUNNING, Phase.GOING_DOWN, spot_signal=SpotSignal.RECLAIMING)
    assert told(RUNNING, falling) == [EventType.RECLAIM_NOTIFIED, EventType.STOPPING]
    taken = look(falling, Phase.DOWN, spot_signal=SpotSignal.TERMINATED)
    assert (taken.status, told(falling, taken)) == (Status.RECLAIMED, [EventType.RECLAIMED])


def test_an_on_demand_machine_that_exits_has_stopped() -> None:
    assert look(replace(RUNNING, order=ON_DEMAND), Phase.DOWN).status is Status.STOPPED


def test_an_exit_that_the_owner_asked_for_is_a_stop_whatever_the_signal() -> None:
    stopping = request_command(look(RUNNING, **NOTIFIED), Command.STOP, NOW)
    stopped = look(stopping, Phase.DOWN, spot_signal=SpotSignal.TERMINATED)
    assert (stopped.status, stopped.reason) == (Status.STOPPED, None)


@pytest.mark.parametrize("status", [Status.CREATING, Status.STARTING])
@pytest.mark.parametrize("signal", [SpotSignal.RECLAIMING, SpotSignal.TERMINATED])
def test_a_machine_taken_while_it_was_coming_up_is_not_started(
    status: Status, signal: SpotSignal
) -> None:
    taken = look(instance(status), Phase.DOWN, spot_signal=signal)
    assert (taken.status, taken.reason) == (Status.RECLAIMED, RECLAIMED)


def test_a_machine_noticed_while_it_was_coming_up_is_still_started() -> None:
    assert look(instance(Status.STARTING), Phase.DOWN, **NOTIFIED).status is Status.STARTING


@pytest.mark.parametrize("signal", SpotSignal)
def test_a_reclaimed_machine_that_is_up_again_is_running_whatever_the_signal_says(
    signal: SpotSignal,
) -> None:
    reclaimed = instance(Status.RECLAIMED, spot_signal=SpotSignal.TERMINATED)
    once = look(reclaimed, spot_signal=signal)
    assert once.status is Status.RECLAIMED
    assert look(once, spot_signal=signal).status is Status.RUNNING


def test_a_new_life_has_its_own_notice() -> None:
    started = request_command(instance(Status.RECLAIMED, **NOTIFIED), Command.START, NOW)
    assert (started.machine.spot_signal, started.machine.reclaim_at) == (SpotSignal.NONE, None)
    running = look(edit(started, pending_command=None))
    assert told(running, look(running, **NOTIFIED)) == [EventType.RECLAIM_NOTIFIED]


def test_a_restart_does_not_repeat_the_notice() -> None:
    restarting = request_command(look(RUNNING, **NOTIFIED), Command.RESTART, NOW)
    assert told(restarting, look(restarting, **NOTIFIED)) == []


@pytest.mark.parametrize(
    ("row", "has_notice"),
    [
        (RUNNING, False),
        (edit(RUNNING, reclaim_at=NOW), True),
        (edit(RUNNING, spot_signal=SpotSignal.NOTIFIED), True),
        (edit(RUNNING, spot_signal=SpotSignal.TERMINATED, reclaim_at=NOW), False),
        (instance(Status.FAILED, reclaim_at=NOW, novita_id=None), False),
    ],
)
def test_a_notice_is_one_until_the_machine_is_taken_back(row: Instance, has_notice: bool) -> None:
    assert row.has_reclaim_notice is has_notice
