"""What the owner may ask for in which status, and what a wish does to the row."""

import pytest

from gpukeeper.domain.errors import InvalidStateChange, WrongStatus
from gpukeeper.domain.instances import (
    Command,
    DesiredState,
    Instance,
    LastCommand,
    PurchaseIntent,
    Reason,
    Status,
)
from gpukeeper.domain.lifecycle.command_results import apply_command_result
from gpukeeper.domain.lifecycle.commands import is_allowed, request_command
from gpukeeper.domain.lifecycle.decide import decide
from gpukeeper.domain.lifecycle.observations import observe
from gpukeeper.domain.lifecycle.steps import SendCommand, Wait
from gpukeeper.domain.machines import Endpoint, Phase, SpotSignal
from tests.domain.builders import LIMITS, MINUTE, NOW, instance, offer, requested, seen
from tests.instances import edit

_MAY = {
    Command.START: {Status.STOPPED, Status.RECLAIMED, Status.FAILED},
    Command.STOP: {Status.CREATING, Status.STARTING, Status.RUNNING, Status.FAILED},
    Command.RESTART: {Status.RUNNING},
    Command.DELETE: set(Status),
}
TOO_EARLY = {Status.REQUESTED}


@pytest.mark.parametrize("verb", Command)
@pytest.mark.parametrize("status", sorted(set(Status) - TOO_EARLY))
def test_a_verb_is_taken_in_the_statuses_that_allow_it_and_in_no_other(
    status: Status, verb: Command
) -> None:
    # What a machine that failed can still do depends on what Novita shows of it.
    phase = {Command.START: Phase.DOWN, Command.STOP: Phase.UNKNOWN}.get(verb)
    row = instance(status, phase=phase) if status is Status.FAILED else instance(status)
    if status in _MAY[verb]:
        assert (
            request_command(row, verb, NOW).desired_state
            is {
                Command.START: DesiredState.RUNNING,
                Command.RESTART: DesiredState.RUNNING,
                Command.STOP: DesiredState.STOPPED,
                Command.DELETE: DesiredState.DELETED,
            }[verb]
        )
        return
    with pytest.raises(WrongStatus) as refusal:
        request_command(row, verb, NOW)
    assert f"'trainer' is {status.value}; {verb.value} needs a machine" in refusal.value.message


def test_the_last_of_the_statuses_that_allow_a_verb_comes_after_an_or() -> None:
    with pytest.raises(WrongStatus, match="needs a machine that is failed, reclaimed or stopped"):
        request_command(instance(Status.RUNNING), Command.START, NOW)


@pytest.mark.parametrize("verb", [Command.START, Command.STOP, Command.RESTART])
@pytest.mark.parametrize(
    "row",
    [
        requested(),
        requested(intent=PurchaseIntent(offer(), NOW)),
        requested(status=Status.FAILED),
        instance(Status.RECLAIMED, gone_at=NOW),
        instance(Status.LOST, gone_at=NOW),
    ],
)
def test_without_a_machine_there_is_nothing_to_start_stop_or_restart(
    row: Instance, verb: Command
) -> None:
    with pytest.raises(WrongStatus, match=f"and has no machine to {verb.value}"):
        request_command(row, verb, NOW)


def test_a_start_renews_the_deadline_and_forgets_the_life_before() -> None:
    stopped = instance(
        Status.RECLAIMED,
        reason=Reason("reclaimed", "Taken."),
        spot_signal=SpotSignal.TERMINATED,
        reclaim_at=NOW,
        endpoints=(Endpoint(80, "http", "https://old.example"),),
        ssh_command="ssh old",
        last_command=LastCommand(Command.STOP, NOW),
        seen_fingerprint="old",
        doubts=1,
        failures=3,
        confirm_at=NOW,
    )
    row = request_command(stopped, Command.START, NOW)
    assert (row.status, row.pending_command, row.started_at) == (
        Status.STARTING,
        Command.START,
        NOW,
    )
    assert row.deadline_at == NOW + 10 * MINUTE
    assert (row.reason, row.last_command, row.watch.seen_fingerprint, row.watch.confirm_at) == (
        None,
    ) * 4
    assert (row.machine.endpoints, row.machine.ssh_command) == ((), None)
    assert (row.machine.spot_signal, row.machine.reclaim_at) == (SpotSignal.NONE, None)
    assert (row.watch.doubts, row.watch.failures) == (0, 0)


def test_a_restart_does_not_take_back_a_spot_notice() -> None:
    noticed = instance(Status.RUNNING, spot_signal=SpotSignal.NOTIFIED, reclaim_at=NOW + MINUTE)
    row = request_command(noticed, Command.RESTART, NOW)
    assert (row.status, row.pending_command) == (Status.STARTING, Command.RESTART)
    assert (row.machine.spot_signal, row.machine.reclaim_at) == (SpotSignal.NOTIFIED, NOW + MINUTE)


def test_a_stop_overtakes_a_restart_that_was_not_asked_yet() -> None:
    restarting = request_command(instance(Status.RUNNING), Command.RESTART, NOW)
    row = request_command(restarting, Command.STOP, NOW)
    assert (row.status, row.pending_command) == (Status.STOPPING, None)
    assert decide(row, NOW, LIMITS) == SendCommand(Command.STOP)


@pytest.mark.parametrize("status", sorted(set(Status) - {Status.DELETING, Status.DELETED}))
def test_everything_can_be_deleted_and_keeps_its_reason(status: Status) -> None:
    reason = Reason("boot_failed", "No image.")
    row = request_command(
        instance(status, reason=reason, pending_command=Command.START), Command.DELETE, NOW
    )
    assert (row.status, row.desired_state) == (Status.DELETING, DesiredState.DELETED)
    assert (row.reason, row.pending_command) == (reason, None)


def test_deleting_again_changes_nothing() -> None:
    once = request_command(instance(Status.RUNNING, phase=Phase.UP), Command.DELETE, NOW)
    assert request_command(once, Command.DELETE, NOW + MINUTE) is once


def test_an_order_under_way_is_cancelled_without_forgetting_its_purchase() -> None:
    buying = PurchaseIntent(offer(), NOW)
    row = request_command(requested(intent=buying), Command.DELETE, NOW)
    assert (row.status, row.purchase.intent) == (Status.DELETING, buying)


@pytest.mark.parametrize("status", [Status.CREATING, Status.STARTING])
@pytest.mark.parametrize("phase", [Phase.DOWN, Phase.PREPARING, Phase.STARTING])
def test_a_machine_that_was_down_before_it_was_started_is_asked_to_stop(
    status: Status, phase: Phase
) -> None:
    started = instance(status, phase=phase, last_command=LastCommand(Command.START, NOW, 1, True))
    row = request_command(started, Command.STOP, NOW)
    assert decide(row, NOW, LIMITS) == SendCommand(Command.STOP)
    # What a look says that began before the start, or lags behind it, is not its end.
    for before in (Phase.GOING_DOWN, Phase.DOWN):
        stale = observe(row, seen(before), NOW, LIMITS)
        assert (stale.status, decide(stale, NOW, LIMITS)) == (
            Status.STOPPING,
            SendCommand(Command.STOP),
        )
    refused = apply_command_result(row, Command.STOP, InvalidStateChange(), NOW, LIMITS)
    assert observe(refused, seen(Phase.DOWN), NOW, LIMITS).status is Status.STOPPING
    assert observe(refused, seen(Phase.STARTING), NOW, LIMITS).machine.phase is Phase.STARTING
    again = apply_command_result(refused, Command.STOP, InvalidStateChange(), NOW, LIMITS)
    assert observe(again, seen(Phase.DOWN), NOW, LIMITS).status is Status.STOPPED
    accepted = apply_command_result(row, Command.STOP, None, NOW, LIMITS)
    assert observe(accepted, seen(Phase.DOWN), NOW, LIMITS).status is Status.STOPPED


def test_a_start_that_is_answered_after_the_wish_to_stop_does_not_end_it() -> None:
    row = request_command(instance(Status.STARTING, phase=Phase.DOWN), Command.STOP, NOW)
    started = apply_command_result(row, Command.START, None, NOW, LIMITS)
    stale = observe(started, seen(Phase.DOWN), NOW, LIMITS)
    assert (stale.status, decide(stale, NOW, LIMITS)) == (
        Status.STOPPING,
        SendCommand(Command.STOP),
    )


@pytest.mark.parametrize("phase", [None, Phase.PREPARING, Phase.STARTING])
def test_a_stop_that_waited_for_the_machine_is_asked_as_soon_as_it_is_up(
    phase: Phase | None,
) -> None:
    refused = LastCommand(Command.STOP, NOW, times=4)
    waiting = instance(Status.STOPPING, phase=phase, last_command=refused)
    assert isinstance(decide(waiting, NOW, LIMITS), Wait)
    up = observe(waiting, seen(Phase.UP), NOW, LIMITS)
    assert decide(up, NOW, LIMITS) == SendCommand(Command.STOP)
    still_up = observe(edit(up, last_command=refused), seen(Phase.UP), NOW, LIMITS)
    assert isinstance(decide(still_up, NOW, LIMITS), Wait)


@pytest.mark.parametrize(
    ("phase", "word", "works"),
    [
        (Phase.PREPARING, "creating", {Command.DELETE}),
        (Phase.STARTING, "pulling", {Command.DELETE}),
        (Phase.DOWN, "exited", {Command.START, Command.DELETE}),
        (Phase.GOING_DOWN, "stopping", {Command.DELETE}),
        (Phase.GOING, "removing", {Command.DELETE}),
        (Phase.UNKNOWN, "hibernating", {Command.START, Command.STOP, Command.DELETE}),
    ],
)
def test_a_machine_that_failed_is_asked_only_what_can_work_and_the_refusal_says_what_does(
    phase: Phase, word: str, works: set[Command]
) -> None:
    reason = Reason("boot_failed", "Novita: ImagePullFailed")
    row = instance(Status.FAILED, phase=phase, novita_status=word, reason=reason)
    for verb in (Command.START, Command.STOP, Command.RESTART):
        assert is_allowed(row, verb) == (verb in works)
        if verb in works:
            continue
        with pytest.raises(WrongStatus) as refusal:
            request_command(row, verb, NOW)
        offered = ", ".join(verb.value for verb in Command if verb in works)
        assert refusal.value.message.endswith(f"What can be asked of it now: {offered}.")


def test_the_refusal_of_a_stop_says_what_novita_shows() -> None:
    row = instance(Status.FAILED, novita_status="pulling")
    with pytest.raises(WrongStatus, match="a machine that runs, and Novita says 'pulling'"):
        request_command(row, Command.STOP, NOW)
    with pytest.raises(WrongStatus, match="a machine that runs, and it is not"):
        request_command(edit(row, novita_status=None), Command.STOP, NOW)


def test_nothing_can_be_asked_of_what_is_being_deleted() -> None:
    with pytest.raises(WrongStatus, match="It is being deleted"):
        request_command(instance(Status.DELETING), Command.STOP, NOW)


def test_what_novita_has_not_answered_for_has_no_machine_that_is_known_yet() -> None:
    failed = requested(status=Status.FAILED, intent=PurchaseIntent(offer(), NOW))
    with pytest.raises(WrongStatus, match="Novita has not answered whether it sold one"):
        request_command(failed, Command.STOP, NOW)
