"""The one thing to do next, read off the row alone."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from gpukeeper.domain.instances import (
    Command,
    DesiredState,
    Instance,
    LastCommand,
    OnFailure,
    PurchaseIntent,
    Reason,
    Status,
)
from gpukeeper.domain.lifecycle.commands import request_command
from gpukeeper.domain.lifecycle.decide import decide, schedule, settle
from gpukeeper.domain.lifecycle.observations import postpone_confirmation
from gpukeeper.domain.lifecycle.steps import (
    ChangeStatus,
    ChooseOffer,
    Confirm,
    LookUp,
    SendCommand,
    Step,
    Wait,
)
from gpukeeper.domain.lifecycle.transitions import Limits, fail
from gpukeeper.domain.machines import Endpoint, Phase
from tests.domain.builders import LIMITS, MINUTE, NOW, ORDER, SECOND, instance, offer, requested
from tests.instances import edit

DELETES = replace(ORDER, on_failure=OnFailure.DELETE)
BUYING = PurchaseIntent(offer(), NOW)
LATER = NOW + MINUTE


def moved(row: Instance, now: datetime = NOW) -> Instance:
    """Return what a row becomes that changes without anyone being asked."""
    assert isinstance(decide(row, now, LIMITS), ChangeStatus)
    return settle(row, now, LIMITS)


@pytest.mark.parametrize(
    ("row", "step"),
    [
        (requested(), ChooseOffer()),
        (requested(intent=BUYING), LookUp()),
        (requested(intent=replace(BUYING, lookup_at=NOW)), LookUp()),
        (requested(intent=replace(BUYING, lookup_at=LATER)), Wait(LATER)),
        (requested(status=Status.FAILED), Wait(None)),
        (requested(status=Status.FAILED, intent=BUYING), LookUp()),
        (requested(status=Status.DELETING, intent=BUYING), LookUp()),
        (instance(Status.RUNNING), Wait(None)),
        (instance(Status.RUNNING, confirm_at=NOW), Confirm()),
        (instance(Status.RUNNING, confirm_at=LATER), Wait(LATER)),
        (instance(Status.STOPPED), Wait(None)),
        (instance(Status.RECLAIMED), Wait(None)),
        (instance(Status.RECLAIMED, gone_at=NOW, confirm_at=NOW), Wait(None)),
        (instance(Status.FAILED), Wait(None)),
        (instance(Status.LOST, gone_at=NOW), Wait(None)),
        (instance(Status.DELETED, gone_at=NOW), Wait(None)),
        (instance(Status.DELETING), SendCommand(Command.DELETE)),
        (instance(Status.DELETING, confirm_at=NOW), Confirm()),
    ],
)
def test_what_comes_next_depends_on_the_status(row: Instance, step: Step) -> None:
    assert decide(row, NOW, LIMITS) == step


@pytest.mark.parametrize("status", [Status.CREATING, Status.STARTING])
@pytest.mark.parametrize("phase", [None, *Phase])
def test_only_a_machine_found_down_is_started(status: Status, phase: Phase | None) -> None:
    row = instance(status, phase=phase)
    is_down = phase is Phase.DOWN
    assert decide(row, NOW, LIMITS) == (
        SendCommand(Command.START) if is_down else Wait(row.deadline_at)
    )


@pytest.mark.parametrize("phase", Phase)
def test_a_wished_start_is_asked_of_a_machine_that_is_not_on_its_way(phase: Phase) -> None:
    row = request_command(instance(Status.STOPPED, phase=phase), Command.START, NOW)
    is_asked = phase in (Phase.DOWN, Phase.UNKNOWN)
    assert decide(row, NOW, LIMITS) == (
        SendCommand(Command.START) if is_asked else Wait(row.deadline_at)
    )


@pytest.mark.parametrize("phase", Phase)
def test_a_wished_stop_is_asked_of_a_machine_that_is_not_falling(phase: Phase) -> None:
    row = request_command(instance(Status.RUNNING, phase=phase), Command.STOP, NOW)
    is_falling = phase in (Phase.GOING_DOWN, Phase.GOING, Phase.DOWN)
    assert decide(row, NOW, LIMITS) == (Wait(None) if is_falling else SendCommand(Command.STOP))


@pytest.mark.parametrize("phase", Phase)
def test_a_machine_that_someone_else_stops_is_not_stopped_by_us(phase: Phase) -> None:
    row = instance(Status.STOPPING, desired_state=DesiredState.RUNNING, phase=phase)
    assert decide(row, NOW, LIMITS) == Wait(None)


@pytest.mark.parametrize("phase", Phase)
def test_a_wished_restart_starts_a_machine_that_went_down_meanwhile(phase: Phase) -> None:
    row = edit(request_command(instance(Status.RUNNING), Command.RESTART, NOW), phase=phase)
    verb = Command.START if phase is Phase.DOWN else Command.RESTART
    assert decide(row, NOW, LIMITS) == SendCommand(verb)


@pytest.mark.parametrize(
    ("times", "is_acknowledged", "seconds"),
    [
        (1, False, 30),
        (2, False, 60),
        (3, False, 120),
        (5, False, 300),
        (10**6, False, 300),
        (1, True, 60),
        (2, True, 120),
        (4, True, 300),
    ],
)
def test_a_verb_is_repeated_with_growing_patience(
    times: int, is_acknowledged: bool, seconds: int
) -> None:
    row = instance(
        Status.DELETING, last_command=LastCommand(Command.DELETE, NOW, times, is_acknowledged)
    )
    again_at = NOW + timedelta(seconds=seconds)
    assert decide(row, again_at - SECOND, LIMITS) == Wait(again_at)
    assert decide(row, again_at, LIMITS) == SendCommand(Command.DELETE)


def test_the_answer_to_another_verb_delays_nothing() -> None:
    row = instance(
        Status.DELETING, last_command=LastCommand(Command.STOP, NOW, 5, is_acknowledged=True)
    )
    assert decide(row, NOW, LIMITS) == SendCommand(Command.DELETE)


def test_a_rest_ends_at_the_first_time_that_the_row_names() -> None:
    asked = LastCommand(Command.START, NOW)
    row = instance(
        Status.STARTING, phase=Phase.DOWN, last_command=asked, deadline_at=NOW + 9 * MINUTE
    )
    assert decide(row, NOW, LIMITS) == Wait(NOW + 30 * SECOND)
    assert decide(edit(row, confirm_at=NOW + SECOND), NOW, LIMITS) == Wait(NOW + SECOND)
    soon = replace(row, deadline_at=NOW + 2 * SECOND)
    assert decide(soon, NOW, LIMITS) == Wait(NOW + 2 * SECOND)


@pytest.mark.parametrize(
    "row",
    [
        requested(),
        requested(intent=BUYING),
        instance(Status.CREATING),
        instance(Status.STARTING, confirm_at=NOW),
        instance(Status.STARTING, pending_command=Command.RESTART, running_at=NOW - MINUTE),
    ],
)
def test_what_is_not_running_at_its_deadline_has_failed(row: Instance) -> None:
    row = replace(row, deadline_at=NOW)
    assert not isinstance(decide(row, NOW - SECOND, LIMITS), ChangeStatus)
    failed = moved(row)
    assert failed.status is Status.FAILED
    assert failed.reason is not None
    assert failed.reason.code == ("startup_timeout" if row.is_watched else "novita_timeout")
    assert (failed.purchase.intent, failed.machine.novita_id) == (
        row.purchase.intent,
        row.machine.novita_id,
    )
    assert failed.pending_command is None


@pytest.mark.parametrize("status", [Status.CREATING, Status.STARTING, Status.STOPPING])
def test_while_novita_cannot_be_asked_at_the_deadline_nothing_has_failed(status: Status) -> None:
    row = instance(
        status,
        phase=Phase.STARTING,
        deadline_at=NOW,
        last_command=LastCommand(Command.STOP, NOW, 9),
    )
    unheard = postpone_confirmation(edit(row, observed_at=NOW - SECOND), NOW, 2 * SECOND)
    assert decide(unheard, NOW, LIMITS) == Wait(NOW + 2 * SECOND)
    assert moved(unheard, NOW + 2 * SECOND).status is Status.FAILED
    # A listing that was asked for after the deadline is as good as an answer.
    assert unheard.watch.seen_fingerprint is None
    assert moved(edit(unheard, observed_at=NOW)).status is Status.FAILED
    # Before the deadline it holds as ever.
    early = edit(unheard, deadline_at=NOW + SECOND, confirm_at=NOW + MINUTE)
    assert decide(early, NOW, LIMITS) == Wait(NOW + MINUTE)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (None, "Not running 600 s after it was started."),
        ("pulling", "Not running 600 s after it was started; Novita says 'pulling'."),
    ],
)
def test_the_deadline_says_how_long_it_was_and_what_novita_says(
    said: str | None, sentence: str
) -> None:
    row = instance(Status.STARTING, novita_status=said)
    assert moved(row, row.deadline_at).reason == Reason("startup_timeout", sentence)


def test_an_order_that_was_never_bought_says_how_long_it_was_tried() -> None:
    failed = moved(requested(), NOW + 10 * MINUTE)
    assert failed.reason == Reason("novita_timeout", "Not bought 600 s after the order.")


@pytest.mark.parametrize(
    "status",
    sorted(set(Status) - {Status.REQUESTED, Status.CREATING, Status.STARTING}),
)
def test_the_deadline_is_for_what_is_coming_up_only(status: Status) -> None:
    row = instance(status, deadline_at=NOW - MINUTE)
    assert not isinstance(decide(row, NOW, LIMITS), ChangeStatus)


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.STARTING])
def test_a_stop_waits_for_a_machine_to_come_up_until_the_deadline(phase: Phase) -> None:
    asked = LastCommand(Command.STOP, NOW - SECOND, 9)
    row = instance(Status.STOPPING, phase=phase, last_command=asked, deadline_at=NOW + MINUTE)
    assert decide(row, NOW, LIMITS) == Wait(NOW + MINUTE)
    failed = moved(replace(row, deadline_at=NOW))
    assert (failed.status, failed.desired_state) == (Status.FAILED, DesiredState.STOPPED)
    assert failed.reason is not None
    assert failed.reason.code == "startup_timeout"


@pytest.mark.parametrize(
    ("row", "is_deleted"),
    [
        (instance(Status.FAILED, order=DELETES), True),
        (requested(status=Status.FAILED, order=DELETES, intent=BUYING), True),
        (requested(status=Status.FAILED, order=DELETES), False),
        (instance(Status.FAILED), False),
        (instance(Status.FAILED, order=DELETES, running_at=NOW - MINUTE), False),
        (instance(Status.FAILED, order=DELETES, gone_at=NOW), False),
        (instance(Status.FAILED, order=DELETES, confirm_at=LATER), False),
        (instance(Status.RECLAIMED, order=DELETES), False),
    ],
)
def test_only_a_first_start_up_that_failed_is_deleted_and_only_if_the_order_says_so(
    row: Instance, is_deleted: bool
) -> None:
    step = decide(row, NOW, LIMITS)
    assert isinstance(step, ChangeStatus) == is_deleted
    if is_deleted:
        assert moved(row).status is Status.DELETING


@pytest.mark.parametrize("changes", [{"gone_at": NOW - MINUTE}, {"novita_id": None}])
def test_without_a_machine_a_deletion_is_done_at_once(changes: dict[str, Any]) -> None:
    reason = Reason("out_of_stock", "None left.")
    shown = {"endpoints": (Endpoint(1, "tcp", "h:1"),), "ssh_command": "ssh", "reason": reason}
    row = moved(instance(Status.DELETING, confirm_at=NOW, **shown, **changes))
    assert (row.status, row.deleted_at, row.watch.confirm_at) == (Status.DELETED, NOW, None)
    assert (row.machine.endpoints, row.machine.ssh_command, row.reason) == ((), None, reason)
    assert row.machine.gone_at == changes.get("gone_at", NOW)
    assert schedule(row, NOW, LIMITS).due_at is None


def test_a_row_is_due_now_unless_it_rests() -> None:
    assert schedule(requested(), NOW, LIMITS).due_at == NOW
    assert schedule(instance(Status.CREATING), NOW, LIMITS).due_at == NOW + 5 * MINUTE
    assert schedule(instance(Status.RUNNING, due_at=NOW), NOW, LIMITS).due_at is None


def test_a_failure_of_the_owners_own_start_keeps_the_machine() -> None:
    stopped = instance(Status.STOPPED, order=DELETES, running_at=NOW - MINUTE)
    failed = fail(request_command(stopped, Command.START, NOW), "out_of_stock", "None left.", NOW)
    assert decide(failed, NOW, LIMITS) == Wait(None)


def test_limits_are_the_contracts() -> None:
    assert Limits().adoption_window == timedelta(seconds=90)


def test_at_the_deadline_an_open_purchase_keeps_the_reason_that_it_has() -> None:
    buying = PurchaseIntent(offer(), since=NOW, lookup_until=NOW + 20 * MINUTE)
    held = Reason("name_altered", "One that may be it stands there.")
    row = requested(intent=buying, has_lost_answer=True, reason=held)
    failed = moved(row, NOW + 10 * MINUTE)
    assert (failed.status, failed.reason) == (Status.FAILED, held)
    assert failed.purchase.intent is not None
