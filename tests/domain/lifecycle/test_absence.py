"""An absence counts when Novita confirms it for this machine, and not while the machine is new."""

from dataclasses import replace

import pytest

from gpukeeper.domain.instances import Command, DesiredState, Instance, LastCommand, Status
from gpukeeper.domain.lifecycle.decide import decide, schedule
from gpukeeper.domain.lifecycle.observations import (
    confirm_missing,
    observe,
    postpone_confirmation,
    record_missing,
    record_reappearance,
    suspect_missing,
)
from gpukeeper.domain.lifecycle.steps import Confirm
from gpukeeper.domain.lifecycle.transitions import COMING_UP
from gpukeeper.domain.machines import Endpoint, Phase, SpotSignal
from tests.domain.builders import LIMITS, NOW, SECOND, instance, requested, seen
from tests.instances import edit

ALIVE = [
    Status.CREATING,
    Status.STARTING,
    Status.RUNNING,
    Status.STOPPING,
    Status.STOPPED,
]
DELETE_ACCEPTED = LastCommand(Command.DELETE, NOW, 1, is_acknowledged=True)
NEW = {"accepted_at": NOW - LIMITS.adoption_window + SECOND}


def absent(row: Instance, times: int = 1) -> Instance:
    """Return the row after a listing without its machine, and so many answers "not found"."""
    row = record_missing(row, NOW, LIMITS)
    for _ in range(times):
        row = confirm_missing(row, NOW, LIMITS)
    return row


@pytest.mark.parametrize("status", [*ALIVE, Status.DELETING, Status.FAILED, Status.RECLAIMED])
def test_a_machine_missing_from_a_listing_is_asked_about_and_nothing_is_concluded(
    status: Status,
) -> None:
    for misses, row in enumerate(
        (
            record_missing(instance(status), NOW, LIMITS),
            observe(instance(status), seen(Phase.GONE), NOW, LIMITS),
        )
    ):
        assert (row.status, row.watch.misses, row.watch.confirm_at) == (status, misses, NOW)
        assert row.is_watched
        assert decide(replace(row, deadline_at=NOW + SECOND), NOW, LIMITS) == Confirm()


def test_a_question_that_was_put_off_is_not_brought_forward() -> None:
    row = record_missing(instance(Status.RUNNING, confirm_at=NOW + SECOND), NOW, LIMITS)
    assert row.watch.confirm_at == NOW + SECOND


def test_a_new_machine_may_be_missing() -> None:
    new = instance(Status.CREATING, **NEW)
    assert record_missing(new, NOW, LIMITS) == new
    assert absent(new, 5).status is Status.CREATING
    assert absent(new, 5).watch.misses == 0
    assert absent(edit(new, accepted_at=NOW - LIMITS.adoption_window)).watch.misses == 1


def test_a_new_machine_that_is_being_deleted_is_asked_about() -> None:
    assert record_missing(instance(Status.DELETING, **NEW), NOW, LIMITS).watch.confirm_at == NOW


@pytest.mark.parametrize("status", ALIVE)
def test_two_confirmed_absences_in_a_row_are_the_end(status: Status) -> None:
    row = instance(status, endpoints=(Endpoint(1, "tcp", "h:1"),), ssh_command="ssh")
    once = absent(edit(row, confirm_at=NOW, failures=2, seen_fingerprint="up"))
    assert (once.status, once.watch.misses, once.watch.confirm_at) == (status, 1, NOW + 3 * SECOND)
    assert (once.watch.failures, once.watch.seen_fingerprint) == (0, None)
    lost = absent(once)
    end = Status.FAILED if status in COMING_UP else Status.LOST
    assert (lost.status, lost.machine.gone_at, lost.is_watched) == (end, NOW, False)
    assert lost.machine.novita_status is None
    assert (lost.machine.endpoints, lost.machine.ssh_command) == ((), None)
    assert lost.reason is not None
    assert lost.reason.code == "gone_at_novita"
    assert schedule(lost, NOW, LIMITS).due_at is None


def test_the_answer_removed_to_a_question_about_the_machine_is_an_absence() -> None:
    row = observe(instance(Status.RUNNING), seen(Phase.GONE), NOW, LIMITS, is_single=True)
    assert row.watch.misses == 1


@pytest.mark.parametrize("phase", [Phase.UP, Phase.STARTING, Phase.UNKNOWN])
def test_a_machine_that_is_seen_between_two_absences_is_not_gone(phase: Phase) -> None:
    once = absent(instance(Status.RUNNING))
    between = observe(once, seen(phase), NOW, LIMITS)
    assert absent(between).status is Status.RUNNING


@pytest.mark.parametrize(
    ("status", "desired", "signal", "expected"),
    [
        (Status.RUNNING, DesiredState.RUNNING, SpotSignal.NOTIFIED, Status.RECLAIMED),
        (Status.STARTING, DesiredState.RUNNING, SpotSignal.RECLAIMING, Status.RECLAIMED),
        (Status.STOPPING, DesiredState.RUNNING, SpotSignal.RECLAIMING, Status.RECLAIMED),
        (Status.STOPPING, DesiredState.STOPPED, SpotSignal.RECLAIMING, Status.LOST),
        (Status.STOPPED, DesiredState.STOPPED, SpotSignal.TERMINATED, Status.LOST),
        (Status.RUNNING, DesiredState.RUNNING, SpotSignal.NONE, Status.LOST),
    ],
)
def test_a_machine_that_vanishes_after_a_notice_was_taken_back(
    status: Status, desired: DesiredState, signal: SpotSignal, expected: Status
) -> None:
    gone = absent(instance(status, desired_state=desired, spot_signal=signal), 2)
    assert (gone.status, gone.machine.gone_at) == (expected, NOW)
    code = "reclaimed" if expected is Status.RECLAIMED else "gone_at_novita"
    assert gone.reason is not None
    assert gone.reason.code == code


def test_a_time_of_reclaim_alone_is_a_notice_too() -> None:
    assert absent(instance(Status.RUNNING, reclaim_at=NOW), 2).status is Status.RECLAIMED


@pytest.mark.parametrize("status", [Status.FAILED, Status.RECLAIMED])
def test_what_has_ended_keeps_its_status_when_its_machine_goes(status: Status) -> None:
    gone = absent(instance(status), 2)
    assert (gone.status, gone.machine.gone_at, gone.is_watched) == (status, NOW, False)


def test_one_absence_is_enough_after_a_deletion_that_novita_accepted() -> None:
    deleted = absent(instance(Status.DELETING, last_command=DELETE_ACCEPTED, **NEW))
    assert (deleted.status, deleted.deleted_at, deleted.machine.gone_at) == (
        Status.DELETED,
        NOW,
        NOW,
    )
    assert schedule(deleted, NOW, LIMITS).due_at is None


@pytest.mark.parametrize(
    "asked",
    [
        None,
        LastCommand(Command.DELETE, NOW),
        LastCommand(Command.STOP, NOW, 1, is_acknowledged=True),
    ],
)
def test_without_novitas_word_for_the_deletion_it_takes_two_absences(
    asked: LastCommand | None,
) -> None:
    once = absent(instance(Status.DELETING, last_command=asked))
    assert once.status is Status.DELETING
    assert absent(once).status is Status.DELETED


def test_a_new_machine_is_not_deleted_by_its_absence_alone() -> None:
    assert absent(instance(Status.DELETING, **NEW), 5).status is Status.DELETING


def test_a_question_that_novita_could_not_answer_is_put_off() -> None:
    row = postpone_confirmation(instance(Status.RUNNING, misses=1, failures=1), NOW, 4 * SECOND)
    assert (row.watch.confirm_at, row.watch.failures, row.watch.misses) == (NOW + 4 * SECOND, 2, 1)


@pytest.mark.parametrize("row", [requested(), instance(Status.LOST, gone_at=NOW)])
def test_where_no_machine_is_known_none_is_missed(row: Instance) -> None:
    assert record_missing(row, NOW, LIMITS) is row
    assert suspect_missing(row, NOW, LIMITS) is row
    assert confirm_missing(row, NOW, LIMITS) is row


def test_what_was_shown_once_is_not_new_whatever_its_age() -> None:
    shown = instance(Status.STARTING, observed_at=NOW - SECOND, **NEW)
    failed = absent(shown, 2)
    assert (failed.status, failed.machine.gone_at) == (Status.FAILED, NOW)


@pytest.mark.parametrize("status", [Status.CREATING, Status.STARTING])
def test_a_machine_that_vanishes_while_starting_has_failed(status: Status) -> None:
    failed = absent(instance(status), 2)
    assert failed.status is Status.FAILED
    assert failed.reason is not None
    assert failed.reason.code == "gone_at_novita"
    assert not failed.may_be_billed


@pytest.mark.parametrize("status", [*ALIVE, Status.DELETING])
def test_not_found_alone_ends_nothing_before_a_complete_listing_agrees(status: Status) -> None:
    row = instance(status)
    for _ in range(5):
        row = confirm_missing(row, NOW, LIMITS)
    assert (row.status, row.is_watched, row.watch.confirm_at) == (status, True, None)
    agreed = record_missing(row, NOW, LIMITS)
    assert agreed.status is status
    assert not confirm_missing(agreed, NOW, LIMITS).is_watched


@pytest.mark.parametrize("is_listed_anew", [True, False])
def test_a_listing_that_shows_the_machine_takes_back_the_one_that_did_not(
    is_listed_anew: bool,
) -> None:
    missed = record_missing(instance(Status.RUNNING, seen_fingerprint="up"), NOW, LIMITS)
    assert missed.watch.seen_fingerprint is None
    shown = observe(missed, seen(Phase.UP), NOW, LIMITS, is_single=not is_listed_anew)
    for _ in range(5):
        shown = confirm_missing(shown, NOW, LIMITS)
    assert shown.status is Status.RUNNING


def test_a_machine_listed_as_removed_is_gone_with_the_first_answer_that_agrees() -> None:
    listed = observe(instance(Status.RUNNING), seen(Phase.GONE), NOW, LIMITS)
    assert confirm_missing(listed, NOW, LIMITS).status is Status.LOST
    seen_again = observe(listed, seen(Phase.GONE), NOW, LIMITS, is_single=True)
    assert seen_again.status is Status.LOST


def test_a_new_machine_that_is_listed_as_removed_is_not_late() -> None:
    listed = observe(instance(Status.CREATING, **NEW), seen(Phase.GONE), NOW, LIMITS)
    assert confirm_missing(listed, NOW, LIMITS).status is Status.FAILED


def test_a_doubt_is_asked_about_and_is_no_listing() -> None:
    doubted = suspect_missing(instance(Status.RUNNING), NOW, LIMITS)
    assert (doubted.watch.confirm_at, doubted.watch.unlisted_at) == (NOW, None)
    new = instance(Status.CREATING, **NEW)
    assert suspect_missing(new, NOW, LIMITS) is new


def test_a_deletion_that_came_back_is_not_taken_on_trust_again() -> None:
    deleted = absent(instance(Status.DELETING, last_command=DELETE_ACCEPTED))
    later = NOW + LIMITS.adoption_window
    back = record_reappearance(deleted, seen(Phase.UP, at=later), later, LIMITS)
    assert (back.status, back.watch.has_reappeared) == (Status.DELETING, True)
    accepted = edit(back, last_command=DELETE_ACCEPTED)
    assert confirm_missing(accepted, later, LIMITS).status is Status.DELETING
    assert absent(accepted, 2).status is Status.DELETED
