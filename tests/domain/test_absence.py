"""An absence counts when Novita confirms it for this machine, and not while the machine is new."""

from dataclasses import replace

import pytest

from gpukeeper.domain.instance import (
    Asked,
    Desired,
    Endpoint,
    Instance,
    Phase,
    SpotSignal,
    Status,
    Verb,
)
from gpukeeper.domain.lifecycle import Confirm, decide, schedule
from gpukeeper.domain.watching import confirm_absence, confirm_later, miss, observe
from tests.domain.making import LIMITS, NOW, SECOND, instance, requested, seen

ALIVE = [
    Status.CREATING,
    Status.STARTING,
    Status.RUNNING,
    Status.STOPPING,
    Status.STOPPED,
]
DELETE_ACCEPTED = Asked(Verb.DELETE, NOW, 1, is_acknowledged=True)
NEW = {"accepted_at": NOW - LIMITS.adoption_window + SECOND}


def absent(row: Instance, times: int = 1) -> Instance:
    for _ in range(times):
        row = confirm_absence(row, NOW, LIMITS)
    return row


@pytest.mark.parametrize("status", [*ALIVE, Status.DELETING, Status.FAILED, Status.RECLAIMED])
def test_a_machine_missing_from_a_listing_is_asked_about_and_nothing_is_concluded(
    status: Status,
) -> None:
    for row in (
        miss(instance(status), NOW, LIMITS),
        observe(instance(status), seen(Phase.GONE), NOW, LIMITS),
    ):
        assert (row.status, row.misses, row.confirm_at) == (status, 0, NOW)
        assert row.is_watched
        assert decide(replace(row, deadline_at=NOW + SECOND), NOW, LIMITS) == Confirm()


def test_a_question_that_was_put_off_is_not_brought_forward() -> None:
    row = miss(instance(Status.RUNNING, confirm_at=NOW + SECOND), NOW, LIMITS)
    assert row.confirm_at == NOW + SECOND


def test_a_new_machine_may_be_missing() -> None:
    new = instance(Status.CREATING, **NEW)
    assert miss(new, NOW, LIMITS) == new
    assert absent(new, 5).status is Status.CREATING
    assert absent(new, 5).misses == 0
    assert absent(replace(new, accepted_at=NOW - LIMITS.adoption_window)).misses == 1


def test_a_new_machine_that_is_being_deleted_is_asked_about() -> None:
    assert miss(instance(Status.DELETING, **NEW), NOW, LIMITS).confirm_at == NOW


@pytest.mark.parametrize("status", ALIVE)
def test_two_confirmed_absences_in_a_row_are_the_end(status: Status) -> None:
    row = instance(status, endpoints=(Endpoint(1, "tcp", "h:1"),), ssh_command="ssh")
    once = absent(replace(row, confirm_at=NOW, failures=2, seen_fingerprint="up"))
    assert (once.status, once.misses, once.confirm_at) == (status, 1, None)
    assert (once.failures, once.seen_fingerprint) == (0, None)
    lost = absent(once)
    assert (lost.status, lost.gone_at, lost.is_watched) == (Status.LOST, NOW, False)
    assert (lost.endpoints, lost.ssh_command) == ((), None)
    assert lost.reason is not None
    assert lost.reason.code == "gone_at_novita"
    assert schedule(lost, NOW, LIMITS).due_at is None


def test_the_answer_removed_to_a_question_about_the_machine_is_an_absence() -> None:
    row = observe(instance(Status.RUNNING), seen(Phase.GONE), NOW, LIMITS, is_single=True)
    assert row.misses == 1


@pytest.mark.parametrize("phase", [Phase.UP, Phase.STARTING, Phase.UNKNOWN])
def test_a_machine_that_is_seen_between_two_absences_is_not_gone(phase: Phase) -> None:
    once = absent(instance(Status.RUNNING))
    between = observe(once, seen(phase), NOW, LIMITS)
    assert absent(between).status is Status.RUNNING


@pytest.mark.parametrize(
    ("status", "desired", "signal", "expected"),
    [
        (Status.RUNNING, Desired.RUNNING, SpotSignal.NOTIFIED, Status.RECLAIMED),
        (Status.STARTING, Desired.RUNNING, SpotSignal.RECLAIMING, Status.RECLAIMED),
        (Status.STOPPING, Desired.RUNNING, SpotSignal.RECLAIMING, Status.RECLAIMED),
        (Status.STOPPING, Desired.STOPPED, SpotSignal.RECLAIMING, Status.LOST),
        (Status.STOPPED, Desired.STOPPED, SpotSignal.TERMINATED, Status.LOST),
        (Status.RUNNING, Desired.RUNNING, SpotSignal.NONE, Status.LOST),
    ],
)
def test_a_machine_that_vanishes_after_a_notice_was_taken_back(
    status: Status, desired: Desired, signal: SpotSignal, expected: Status
) -> None:
    gone = absent(instance(status, desired=desired, spot_signal=signal), 2)
    assert (gone.status, gone.gone_at) == (expected, NOW)
    code = "reclaimed" if expected is Status.RECLAIMED else "gone_at_novita"
    assert gone.reason is not None
    assert gone.reason.code == code


def test_a_time_of_reclaim_alone_is_a_notice_too() -> None:
    assert absent(instance(Status.RUNNING, reclaim_at=NOW), 2).status is Status.RECLAIMED


@pytest.mark.parametrize("status", [Status.FAILED, Status.RECLAIMED])
def test_what_has_ended_keeps_its_status_when_its_machine_goes(status: Status) -> None:
    gone = absent(instance(status), 2)
    assert (gone.status, gone.gone_at, gone.is_watched) == (status, NOW, False)


def test_one_absence_is_enough_after_a_deletion_that_novita_accepted() -> None:
    deleted = absent(instance(Status.DELETING, asked=DELETE_ACCEPTED, **NEW))
    assert (deleted.status, deleted.deleted_at, deleted.gone_at) == (Status.DELETED, NOW, NOW)
    assert schedule(deleted, NOW, LIMITS).due_at is None


@pytest.mark.parametrize(
    "asked",
    [None, Asked(Verb.DELETE, NOW), Asked(Verb.STOP, NOW, 1, is_acknowledged=True)],
)
def test_without_novitas_word_for_the_deletion_it_takes_two_absences(asked: Asked | None) -> None:
    once = absent(instance(Status.DELETING, asked=asked))
    assert once.status is Status.DELETING
    assert absent(once).status is Status.DELETED


def test_a_new_machine_is_not_deleted_by_its_absence_alone() -> None:
    assert absent(instance(Status.DELETING, **NEW), 5).status is Status.DELETING


def test_a_question_that_novita_could_not_answer_is_put_off() -> None:
    row = confirm_later(instance(Status.RUNNING, misses=1, failures=1), NOW, 4 * SECOND)
    assert (row.confirm_at, row.failures, row.misses) == (NOW + 4 * SECOND, 2, 1)


@pytest.mark.parametrize("row", [requested(), instance(Status.LOST, gone_at=NOW)])
def test_where_no_machine_is_known_none_is_missed(row: Instance) -> None:
    assert miss(row, NOW, LIMITS) is row
    assert confirm_absence(row, NOW, LIMITS) is row
