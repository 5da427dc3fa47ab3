"""What Novita answers to a verb: accepted, refused, lost, or long since done."""

from dataclasses import replace

import pytest

from gpukeeper.domain.errors import (
    BadCredentials,
    InsufficientBalance,
    InvalidStateChange,
    NovitaError,
    NovitaNotFound,
    NovitaRejected,
    NovitaTimeout,
    OutcomeUnknown,
    OutOfStock,
    RateLimited,
)
from gpukeeper.domain.instances import Command, Instance, LastCommand, Reason, Status
from gpukeeper.domain.lifecycle.command_results import apply_command_result
from gpukeeper.domain.lifecycle.commands import request_command
from gpukeeper.domain.lifecycle.decide import decide
from gpukeeper.domain.lifecycle.steps import Confirm, SendCommand, Wait
from gpukeeper.domain.lifecycle.transitions import CONFIRM_DELETION_AFTER, mark_deleted
from gpukeeper.domain.machines import Phase
from tests.domain.builders import LIMITS, NOW, SECOND, instance
from tests.instances import edit

TEMPORARY = [RateLimited(), NovitaTimeout(), OutcomeUnknown(), BadCredentials()]

STARTING = request_command(instance(Status.STOPPED), Command.START, NOW)
RESTARTING = request_command(instance(Status.RUNNING), Command.RESTART, NOW)
STOPPING = request_command(instance(Status.RUNNING), Command.STOP, NOW)
DELETING = request_command(instance(Status.RUNNING), Command.DELETE, NOW)
ROWS = [
    (STARTING, Command.START),
    (RESTARTING, Command.RESTART),
    (STOPPING, Command.STOP),
    (DELETING, Command.DELETE),
]
DONE_ALREADY = [
    (row, verb, error)
    for row, verb in ROWS
    for error in (InvalidStateChange(), NovitaNotFound())
    if (verb, type(error)) != (Command.DELETE, NovitaNotFound)
]


def told(row: Instance, verb: Command, error: NovitaError | None) -> Instance:
    return apply_command_result(row, verb, error, NOW, LIMITS)


@pytest.mark.parametrize(("row", "verb"), ROWS)
def test_an_accepted_verb_is_remembered_and_not_repeated_soon(row: Instance, verb: Command) -> None:
    after = told(row, verb, None)
    assert after.last_command == LastCommand(verb, NOW, 1, is_acknowledged=True)
    assert (after.status, after.pending_command, after.watch.failures) == (row.status, None, 0)
    assert isinstance(decide(after, NOW + SECOND, LIMITS), Wait)


def test_an_accepted_deletion_is_confirmed_soon() -> None:
    after = told(DELETING, Command.DELETE, None)
    assert after.watch.confirm_at == NOW + 3 * SECOND
    assert decide(after, NOW + CONFIRM_DELETION_AFTER, LIMITS) == Confirm()


@pytest.mark.parametrize(("row", "verb"), ROWS)
@pytest.mark.parametrize("error", TEMPORARY)
def test_a_temporary_error_leads_to_asking_again(
    row: Instance, verb: Command, error: NovitaError
) -> None:
    after = told(row, verb, error)
    assert (after.status, after.pending_command, after.watch.failures) == (
        row.status,
        row.pending_command,
        1,
    )
    assert after.last_command == LastCommand(verb, NOW, 1, is_acknowledged=False)
    assert decide(after, NOW + LIMITS.ask_again_after, LIMITS) == SendCommand(verb)


@pytest.mark.parametrize(("row", "verb", "error"), DONE_ALREADY)
def test_what_may_be_done_already_is_looked_at_now(
    row: Instance, verb: Command, error: NovitaError
) -> None:
    after = told(row, verb, error)
    assert (after.status, after.pending_command, after.watch.confirm_at) == (
        row.status,
        row.pending_command,
        NOW,
    )
    assert after.last_command is not None
    assert (after.last_command.times, after.last_command.is_acknowledged) == (1, False)
    assert decide(after, NOW, LIMITS) == Confirm()


def test_a_machine_that_is_not_found_is_asked_about_and_its_deletion_was_not_accepted() -> None:
    after = told(DELETING, Command.DELETE, NovitaNotFound())
    assert after.last_command is not None
    assert not after.last_command.is_acknowledged
    assert after.watch.confirm_at == NOW + CONFIRM_DELETION_AFTER


@pytest.mark.parametrize("error", [NovitaNotFound(), OutcomeUnknown(), InvalidStateChange()])
def test_a_deletion_that_was_accepted_once_stays_accepted(error: NovitaError) -> None:
    after = told(told(DELETING, Command.DELETE, None), Command.DELETE, error)
    assert after.last_command is not None
    assert after.last_command.is_acknowledged


def test_a_new_machine_that_is_not_found_has_not_been_deleted() -> None:
    new = request_command(instance(Status.CREATING, accepted_at=NOW), Command.DELETE, NOW)
    after = told(new, Command.DELETE, NovitaNotFound())
    assert after.last_command is not None
    assert not after.last_command.is_acknowledged
    assert decide(after, NOW + LIMITS.ask_again_after, LIMITS) == Confirm()


@pytest.mark.parametrize("status", [Status.CREATING, Status.STARTING])
@pytest.mark.parametrize("error", [OutOfStock(), InsufficientBalance(), NovitaRejected()])
def test_a_refused_start_fails_and_keeps_the_machine(status: Status, error: NovitaError) -> None:
    after = told(instance(status, phase=Phase.DOWN), Command.START, error)
    assert after.status is Status.FAILED
    assert after.reason == Reason(error.error_code, error.message)
    assert after.is_watched


@pytest.mark.parametrize("status", [Status.RUNNING, Status.STOPPING, Status.DELETING])
def test_a_start_refused_after_the_status_moved_on_changes_no_status(status: Status) -> None:
    after = told(instance(status), Command.START, OutOfStock())
    assert (after.status, after.reason) == (status, None)


def test_a_refused_restart_that_nobody_waits_for_is_dropped_and_the_machine_looked_at() -> None:
    older = replace(RESTARTING, prior=None)
    after = told(older, Command.RESTART, NovitaRejected())
    assert (after.status, after.pending_command, after.watch.confirm_at) == (
        Status.STARTING,
        None,
        NOW,
    )


def test_a_refused_deletion_is_asked_again_unless_novita_never_deletes() -> None:
    after = told(DELETING, Command.DELETE, NovitaRejected())
    assert after.status is Status.DELETING
    assert decide(after, NOW + LIMITS.ask_again_after, LIMITS) == SendCommand(Command.DELETE)


def test_why_novita_refuses_is_shown_until_it_does_not_any_more() -> None:
    refused = told(DELETING, Command.DELETE, NovitaRejected("No.", reason="ODD"))
    assert refused.reason == Reason("delete_refused", "No.", "ODD")
    for error in TEMPORARY:
        assert told(refused, Command.DELETE, error).reason == refused.reason
    for ending in (None, InvalidStateChange(), NovitaNotFound()):
        assert told(refused, Command.DELETE, ending).reason is None


def test_what_was_refused_once_is_no_reason_for_what_comes_after() -> None:
    refused = told(STOPPING, Command.STOP, NovitaRejected("No."))
    assert request_command(refused, Command.DELETE, NOW).reason is None
    older = told(replace(STOPPING, prior=None), Command.STOP, NovitaRejected("No."))
    assert (older.status, older.reason) == (Status.STOPPING, Reason("stop_refused", "No."))
    deleting = told(DELETING, Command.DELETE, NovitaRejected("No."))
    assert mark_deleted(deleting, NOW).reason is None
    failed = replace(DELETING, reason=Reason("boot_failed", "Why."))
    assert told(failed, Command.DELETE, None).reason == failed.reason
    assert mark_deleted(failed, NOW).reason == failed.reason


def test_a_refusal_that_comes_too_late_is_no_reason() -> None:
    deleted = instance(Status.DELETED, gone_at=NOW)
    assert told(deleted, Command.DELETE, NovitaRejected("No.")).reason is None
    assert told(STARTING, Command.STOP, NovitaRejected("No.")).reason is None


def test_the_late_refusal_of_a_stop_does_not_fail_the_start_after_it() -> None:
    assert told(STARTING, Command.STOP, NovitaRejected()).status is Status.STARTING


def test_repetitions_are_counted_per_verb() -> None:
    twice = told(told(DELETING, Command.DELETE, None), Command.DELETE, None)
    assert twice.last_command is not None
    assert twice.last_command.times == 2
    other = told(twice, Command.STOP, None)
    assert other.last_command is not None
    assert other.last_command.times == 1


def test_the_start_of_a_machine_that_was_down_settles_a_wished_restart() -> None:
    down = told(
        instance(Status.STARTING, pending_command=Command.RESTART, phase=Phase.DOWN),
        Command.START,
        None,
    )
    assert down.pending_command is None


def test_the_late_answer_to_a_start_does_not_settle_a_wished_restart() -> None:
    assert told(RESTARTING, Command.START, None).pending_command is Command.RESTART


@pytest.mark.parametrize(("row", "verb"), ROWS)
@pytest.mark.parametrize("error", [None, *TEMPORARY, InvalidStateChange(), NovitaRejected()])
def test_every_answer_makes_the_next_look_count(
    row: Instance, verb: Command, error: NovitaError | None
) -> None:
    assert told(edit(row, seen_fingerprint="up"), verb, error).watch.seen_fingerprint is None
