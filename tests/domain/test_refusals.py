"""What Novita refuses for good is said at once, and the instance is what it was before."""

from dataclasses import replace

import pytest

from gpukeeper.domain.asking import answered
from gpukeeper.domain.errors import (
    InsufficientBalance,
    InvalidStateChange,
    NovitaError,
    NovitaRejected,
    OutcomeUnknown,
    OutOfStock,
    RefusedForGood,
)
from gpukeeper.domain.events import Change, data_of
from gpukeeper.domain.instance import (
    Desired,
    Instance,
    OnFailure,
    Phase,
    Reason,
    Status,
    Verb,
)
from gpukeeper.domain.lifecycle import Confirm, decide, fail, schedule, want
from gpukeeper.domain.watching import observe
from tests.domain.making import LIMITS, MINUTE, NOW, ORDER, SECOND, instance, requested, seen

WHY = Reason("boot_failed", "Novita: ImagePullFailed")
WISHES = [
    (instance(Status.RUNNING), Verb.STOP),
    (instance(Status.RUNNING), Verb.RESTART),
    (instance(Status.STARTING), Verb.STOP),
    (instance(Status.STOPPED), Verb.START),
    (instance(Status.RECLAIMED, reason=Reason("reclaimed", "Taken.")), Verb.START),
    (instance(Status.FAILED, phase=Phase.DOWN, reason=WHY), Verb.START),
    (instance(Status.FAILED, phase=Phase.UNKNOWN, reason=WHY), Verb.STOP),
]
NEVER = RefusedForGood("Monthly.", reason="PREPAID_INSTANCE_NOT_SUPPORT_RELEASE")


def told(row: Instance, verb: Verb, error: NovitaError | None) -> Instance:
    return answered(row, verb, error, NOW, LIMITS)


@pytest.mark.parametrize(("row", "verb"), WISHES)
@pytest.mark.parametrize("error", [NovitaRejected("No.", reason="ODD")])
def test_a_refusal_is_said_within_one_try_and_the_status_is_what_it_was(
    row: Instance, verb: Verb, error: NovitaError
) -> None:
    wanted = want(row, verb, NOW)
    refused = told(wanted, verb, error)
    code = f"{verb.value}_refused"
    assert (refused.status, refused.desired, refused.wanted) == (row.status, row.desired, None)
    assert refused.reason == (row.reason or Reason(code, "No.", error.reason))
    assert refused.running_at == wanted.running_at
    data = data_of(Change(wanted, refused, NOW))
    assert data["error"] == {"code": code, "message": "No."}
    assert decide(refused, NOW, LIMITS) == Confirm()


def test_the_refusal_is_said_once() -> None:
    refused = told(want(instance(Status.RUNNING), Verb.STOP, NOW), Verb.STOP, NovitaRejected("No."))
    doubted = observe(refused, seen(Phase.DOWN), NOW, LIMITS)
    later = observe(doubted, seen(Phase.DOWN), NOW, LIMITS)
    assert later.status is Status.RECLAIMED
    error = data_of(Change(refused, later, NOW))["error"]
    assert error["code"] == "exited_without_notice"


@pytest.mark.parametrize(
    ("row", "verb", "phase"),
    [
        (instance(Status.RUNNING), Verb.STOP, Phase.UP),
        (instance(Status.RUNNING), Verb.RESTART, Phase.UP),
        (instance(Status.STOPPED), Verb.START, Phase.DOWN),
        (instance(Status.FAILED, phase=None, reason=WHY), Verb.STOP, Phase.STARTING),
    ],
)
def test_an_invalid_state_change_is_a_refusal_once_a_look_shows_that_nothing_happened(
    row: Instance, verb: Verb, phase: Phase
) -> None:
    objected = told(want(row, verb, NOW), verb, InvalidStateChange("Cannot."))
    assert decide(objected, NOW, LIMITS) == Confirm()
    listed = observe(objected, seen(phase), NOW, LIMITS)
    assert listed.status is objected.status
    refused = observe(objected, seen(phase), NOW, LIMITS, is_single=True)
    assert refused.status is row.status
    assert refused.reason == (row.reason or Reason(f"{verb.value}_refused", "Cannot."))


def test_while_an_earlier_answer_is_lost_the_next_one_is_waited_for() -> None:
    lost = told(want(instance(Status.RUNNING), Verb.STOP, NOW), Verb.STOP, OutcomeUnknown())
    once = told(lost, Verb.STOP, InvalidStateChange("Cannot."))
    still = observe(once, seen(Phase.UP), NOW, LIMITS, is_single=True)
    assert still.status is Status.STOPPING
    twice = told(still, Verb.STOP, InvalidStateChange("Cannot."))
    assert observe(twice, seen(Phase.UP), NOW, LIMITS, is_single=True).status is Status.RUNNING


def test_a_stop_that_took_effect_and_was_refused_is_no_refusal() -> None:
    objected = told(
        want(instance(Status.RUNNING), Verb.STOP, NOW), Verb.STOP, InvalidStateChange("Cannot.")
    )
    going = observe(objected, seen(Phase.GOING_DOWN), NOW, LIMITS, is_single=True)
    assert going.status is Status.STOPPING
    down = observe(going, seen(Phase.DOWN), NOW, LIMITS)
    assert (down.status, data_of(Change(going, down, NOW))["error"]) == (Status.STOPPED, None)


def test_a_machine_that_can_never_be_deleted_is_not_asked_again_and_says_so() -> None:
    running = instance(Status.RUNNING, phase=Phase.UP)
    kept = told(want(running, Verb.DELETE, NOW), Verb.DELETE, NEVER)
    assert (kept.status, kept.desired) == (Status.RUNNING, Desired.RUNNING)
    assert kept.reason is not None
    assert kept.reason.code == "delete_refused"
    assert schedule(replace(kept, confirm_at=None), NOW, LIMITS).due_at is None
    again = want(kept, Verb.DELETE, NOW + MINUTE)
    assert (again.status, again.reason) == (Status.DELETING, None)


def test_a_failure_that_cannot_be_deleted_stays_as_it_is() -> None:
    order = replace(ORDER, on_failure=OnFailure.DELETE)
    deleting = want(instance(Status.FAILED, order=order, reason=WHY), Verb.DELETE, NOW)
    kept = replace(told(deleting, Verb.DELETE, NEVER), confirm_at=None)
    assert (kept.status, kept.reason) == (Status.FAILED, WHY)
    assert schedule(kept, NOW, LIMITS).due_at is None


def test_a_cancelled_order_that_was_sold_and_cannot_be_deleted_is_watched() -> None:
    cancelled = replace(want(requested(), Verb.DELETE, NOW), novita_id="m1", accepted_at=NOW)
    kept = told(cancelled, Verb.DELETE, NEVER)
    assert (kept.status, kept.is_watched) == (Status.CREATING, True)


@pytest.mark.parametrize("error", [OutOfStock("None."), InsufficientBalance("None.")])
def test_a_start_that_nobody_asked_for_fails_with_the_reason_of_the_refusal(
    error: NovitaError,
) -> None:
    failed = told(instance(Status.CREATING, phase=Phase.DOWN), Verb.START, error)
    assert (failed.status, failed.reason) == (Status.FAILED, Reason(error.error_code, "None."))


def test_a_start_without_a_gpu_or_money_fails_with_that_and_never_replaces_a_failure() -> None:
    for status, code in ((Status.STOPPED, "out_of_stock"), (Status.FAILED, "boot_failed")):
        row = instance(status, phase=Phase.DOWN, reason=WHY if status is Status.FAILED else None)
        failed = told(want(row, Verb.START, NOW), Verb.START, OutOfStock("None."))
        assert failed.status is Status.FAILED
        assert failed.reason is not None
        assert failed.reason.code == code


def test_the_deadline_of_a_stop_does_not_replace_what_the_machine_failed_of() -> None:
    stopping = want(instance(Status.FAILED, phase=None, reason=WHY), Verb.STOP, NOW)
    rising = observe(stopping, seen(Phase.STARTING), NOW, LIMITS)
    step = decide(rising, rising.deadline_at + SECOND, LIMITS)
    assert getattr(step, "instance").reason == WHY  # noqa: B009 - the step is a Move


def test_a_machine_that_is_to_be_stopped_once_it_is_up_fails_as_soon_as_it_cannot_come_up() -> None:
    stopping = want(instance(Status.STARTING), Verb.STOP, NOW)
    failed = observe(stopping, seen(Phase.STARTING, error="ImagePullFailed"), NOW, LIMITS)
    assert (failed.status, failed.desired) == (Status.FAILED, Desired.STOPPED)
    assert failed.reason == WHY


def test_a_refusal_does_not_outlive_the_next_wish() -> None:
    refused = told(want(instance(Status.RUNNING), Verb.STOP, NOW), Verb.STOP, NovitaRejected("No."))
    again = want(refused, Verb.STOP, NOW)
    assert (again.asked, again.reason) == (None, None)
    ended = fail(again, "startup_timeout", "Late.", NOW)
    assert ended.prior is None
