"""What Novita refuses for good is said at once, and the instance is what it was before."""

from dataclasses import replace

import pytest

from gpukeeper.contract.events import describe_change
from gpukeeper.domain.errors import (
    InsufficientBalance,
    InvalidStateChange,
    NovitaError,
    NovitaRejected,
    OutcomeUnknown,
    OutOfStock,
    RefusedForGood,
)
from gpukeeper.domain.events import Change
from gpukeeper.domain.instances import Command, DesiredState, Instance, OnFailure, Reason, Status
from gpukeeper.domain.lifecycle.command_results import apply_command_result
from gpukeeper.domain.lifecycle.commands import request_command
from gpukeeper.domain.lifecycle.decide import decide, schedule, settle
from gpukeeper.domain.lifecycle.observations import observe
from gpukeeper.domain.lifecycle.steps import Confirm
from gpukeeper.domain.lifecycle.transitions import fail
from gpukeeper.domain.machines import Phase
from tests.domain.builders import LIMITS, MINUTE, NOW, ORDER, SECOND, instance, requested, seen
from tests.instances import edit

WHY = Reason("boot_failed", "Novita: ImagePullFailed")
WISHES = [
    (instance(Status.RUNNING), Command.STOP),
    (instance(Status.RUNNING), Command.RESTART),
    (instance(Status.STARTING), Command.STOP),
    (instance(Status.STOPPED), Command.START),
    (instance(Status.RECLAIMED, reason=Reason("reclaimed", "Taken.")), Command.START),
    (instance(Status.FAILED, phase=Phase.DOWN, reason=WHY), Command.START),
    (instance(Status.FAILED, phase=Phase.UNKNOWN, reason=WHY), Command.STOP),
]
NEVER = RefusedForGood("Monthly.", reason="PREPAID_INSTANCE_NOT_SUPPORT_RELEASE")


def told(row: Instance, verb: Command, error: NovitaError | None) -> Instance:
    return apply_command_result(row, verb, error, NOW, LIMITS)


@pytest.mark.parametrize(("row", "verb"), WISHES)
@pytest.mark.parametrize("error", [NovitaRejected("No.", reason="ODD")])
def test_a_refusal_is_said_within_one_try_and_the_status_is_what_it_was(
    row: Instance, verb: Command, error: NovitaError
) -> None:
    wanted = request_command(row, verb, NOW)
    refused = told(wanted, verb, error)
    code = f"{verb.value}_refused"
    assert (refused.status, refused.desired_state, refused.pending_command) == (
        row.status,
        row.desired_state,
        None,
    )
    assert refused.reason == (row.reason or Reason(code, "No.", error.reason))
    assert refused.running_at == wanted.running_at
    data = describe_change(Change(wanted, refused, NOW))
    assert data["error"] == {"code": code, "message": "No."}
    assert decide(refused, NOW, LIMITS) == Confirm()


def test_the_refusal_is_said_once() -> None:
    refused = told(
        request_command(instance(Status.RUNNING), Command.STOP, NOW),
        Command.STOP,
        NovitaRejected("No."),
    )
    doubted = observe(refused, seen(Phase.DOWN), NOW, LIMITS)
    later = observe(doubted, seen(Phase.DOWN), NOW, LIMITS)
    assert later.status is Status.RECLAIMED
    error = describe_change(Change(refused, later, NOW))["error"]
    assert error["code"] == "exited_without_notice"


@pytest.mark.parametrize(
    ("row", "verb", "phase"),
    [
        (instance(Status.RUNNING), Command.STOP, Phase.UP),
        (instance(Status.RUNNING), Command.RESTART, Phase.UP),
        (instance(Status.STOPPED), Command.START, Phase.DOWN),
        (instance(Status.FAILED, phase=None, reason=WHY), Command.STOP, Phase.STARTING),
    ],
)
def test_an_invalid_state_change_is_a_refusal_once_a_look_shows_that_nothing_happened(
    row: Instance, verb: Command, phase: Phase
) -> None:
    objected = told(request_command(row, verb, NOW), verb, InvalidStateChange("Cannot."))
    assert decide(objected, NOW, LIMITS) == Confirm()
    listed = observe(objected, seen(phase), NOW, LIMITS)
    assert listed.status is objected.status
    refused = observe(objected, seen(phase), NOW, LIMITS, is_single=True)
    assert refused.status is row.status
    assert refused.reason == (row.reason or Reason(f"{verb.value}_refused", "Cannot."))


def test_while_an_earlier_answer_is_lost_the_next_one_is_waited_for() -> None:
    lost = told(
        request_command(instance(Status.RUNNING), Command.STOP, NOW), Command.STOP, OutcomeUnknown()
    )
    once = told(lost, Command.STOP, InvalidStateChange("Cannot."))
    still = observe(once, seen(Phase.UP), NOW, LIMITS, is_single=True)
    assert still.status is Status.STOPPING
    twice = told(still, Command.STOP, InvalidStateChange("Cannot."))
    assert observe(twice, seen(Phase.UP), NOW, LIMITS, is_single=True).status is Status.RUNNING


def test_a_stop_that_took_effect_and_was_refused_is_no_refusal() -> None:
    objected = told(
        request_command(instance(Status.RUNNING), Command.STOP, NOW),
        Command.STOP,
        InvalidStateChange("Cannot."),
    )
    going = observe(objected, seen(Phase.GOING_DOWN), NOW, LIMITS, is_single=True)
    assert going.status is Status.STOPPING
    down = observe(going, seen(Phase.DOWN), NOW, LIMITS)
    error = describe_change(Change(going, down, NOW))["error"]
    assert (down.status, error) == (Status.STOPPED, None)


def test_a_machine_that_can_never_be_deleted_is_not_asked_again_and_says_so() -> None:
    running = instance(Status.RUNNING, phase=Phase.UP)
    kept = told(request_command(running, Command.DELETE, NOW), Command.DELETE, NEVER)
    assert (kept.status, kept.desired_state) == (Status.RUNNING, DesiredState.RUNNING)
    assert kept.reason is not None
    assert kept.reason.code == "delete_refused"
    assert schedule(edit(kept, confirm_at=None), NOW, LIMITS).due_at is None
    again = request_command(kept, Command.DELETE, NOW + MINUTE)
    assert (again.status, again.reason) == (Status.DELETING, None)


def test_a_failure_that_cannot_be_deleted_stays_as_it_is() -> None:
    order = replace(ORDER, on_failure=OnFailure.DELETE)
    deleting = request_command(
        instance(Status.FAILED, order=order, reason=WHY), Command.DELETE, NOW
    )
    kept = edit(told(deleting, Command.DELETE, NEVER), confirm_at=None)
    assert (kept.status, kept.reason) == (Status.FAILED, WHY)
    assert schedule(kept, NOW, LIMITS).due_at is None


def test_a_cancelled_order_that_was_sold_and_cannot_be_deleted_is_watched() -> None:
    cancelled = edit(
        request_command(requested(), Command.DELETE, NOW), novita_id="m1", accepted_at=NOW
    )
    kept = told(cancelled, Command.DELETE, NEVER)
    assert (kept.status, kept.is_watched) == (Status.CREATING, True)


@pytest.mark.parametrize("error", [OutOfStock("None."), InsufficientBalance("None.")])
def test_a_start_that_nobody_asked_for_fails_with_the_reason_of_the_refusal(
    error: NovitaError,
) -> None:
    failed = told(instance(Status.CREATING, phase=Phase.DOWN), Command.START, error)
    assert (failed.status, failed.reason) == (Status.FAILED, Reason(error.error_code, "None."))


def test_a_start_without_a_gpu_or_money_fails_with_that_and_never_replaces_a_failure() -> None:
    for status, code in ((Status.STOPPED, "out_of_stock"), (Status.FAILED, "boot_failed")):
        row = instance(status, phase=Phase.DOWN, reason=WHY if status is Status.FAILED else None)
        failed = told(request_command(row, Command.START, NOW), Command.START, OutOfStock("None."))
        assert failed.status is Status.FAILED
        assert failed.reason is not None
        assert failed.reason.code == code


def test_the_deadline_of_a_stop_does_not_replace_what_the_machine_failed_of() -> None:
    stopping = request_command(instance(Status.FAILED, phase=None, reason=WHY), Command.STOP, NOW)
    rising = observe(stopping, seen(Phase.STARTING), NOW, LIMITS)
    assert settle(rising, rising.deadline_at + SECOND, LIMITS).reason == WHY


def test_a_machine_that_is_to_be_stopped_once_it_is_up_fails_as_soon_as_it_cannot_come_up() -> None:
    stopping = request_command(instance(Status.STARTING), Command.STOP, NOW)
    failed = observe(stopping, seen(Phase.STARTING, error="ImagePullFailed"), NOW, LIMITS)
    assert (failed.status, failed.desired_state) == (Status.FAILED, DesiredState.STOPPED)
    assert failed.reason == WHY


def test_a_refusal_does_not_outlive_the_next_wish() -> None:
    refused = told(
        request_command(instance(Status.RUNNING), Command.STOP, NOW),
        Command.STOP,
        NovitaRejected("No."),
    )
    again = request_command(refused, Command.STOP, NOW)
    assert (again.last_command, again.reason) == (None, None)
    ended = fail(again, "startup_timeout", "Late.", NOW)
    assert ended.prior is None
