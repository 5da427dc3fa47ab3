"""A machine that was taken for gone and costs money after all is watched again."""

from dataclasses import replace

import pytest

from gpukeeper.domain.instances import Command, Instance, LastCommand, Reason, Status
from gpukeeper.domain.lifecycle.decide import decide
from gpukeeper.domain.lifecycle.observations import observe, record_reappearance
from gpukeeper.domain.lifecycle.steps import SendCommand
from gpukeeper.domain.machines import Phase
from tests.domain.builders import LIMITS, MINUTE, NOW, ON_DEMAND, SECOND, instance, seen

GONE_AT = NOW - LIMITS.adoption_window
ENDED = [Status.LOST, Status.DELETED, Status.FAILED, Status.RECLAIMED]


def ended(status: Status, **changes: object) -> Instance:
    """Return an instance whose machine Novita did not know any more some time ago."""
    reason = Reason("code", "Sentence.")
    usual: dict[str, object] = {
        "gone_at": GONE_AT,
        "reason": reason,
        "last_command": LastCommand(Command.DELETE, GONE_AT, 3, is_acknowledged=True),
        "misses": 2,
    }
    return instance(status, order=ON_DEMAND, **{**usual, **changes})


def shown(row: Instance, phase: Phase = Phase.UP) -> Instance:
    return record_reappearance(row, seen(phase), NOW, LIMITS)


@pytest.mark.parametrize("status", ENDED)
def test_a_listing_may_lag_behind_the_end_and_then_says_nothing(status: Status) -> None:
    row = ended(status, gone_at=GONE_AT + SECOND)
    assert shown(row) is row


def test_a_machine_that_was_never_gone_cannot_come_back() -> None:
    row = instance(Status.RUNNING)
    assert shown(row, Phase.DOWN) is row


@pytest.mark.parametrize("status", ENDED)
def test_what_comes_back_is_watched_and_has_been_missed_by_nobody(status: Status) -> None:
    back = shown(ended(status))
    assert (back.is_watched, back.machine.novita_id) == (True, "m1")
    assert (back.watch.misses, back.deleted_at) == (0, None)


def test_a_deleted_machine_that_comes_back_is_deleted_again() -> None:
    back = shown(ended(Status.DELETED, deleted_at=GONE_AT))
    assert (back.status, back.reason) == (Status.DELETING, Reason("code", "Sentence."))
    assert decide(back, NOW, LIMITS) == SendCommand(Command.DELETE)


@pytest.mark.parametrize(
    ("phase", "status"),
    [
        (Phase.UP, Status.RUNNING),
        (Phase.STARTING, Status.STARTING),
        (Phase.PREPARING, Status.STARTING),
        (Phase.GOING_DOWN, Status.STOPPING),
        (Phase.DOWN, Status.STOPPED),
        (Phase.UNKNOWN, Status.STOPPING),
    ],
)
def test_a_lost_machine_is_taken_for_what_it_is_now(phase: Phase, status: Status) -> None:
    back = shown(ended(Status.LOST), phase)
    assert (back.status, back.machine.phase) == (status, phase)
    assert back.reason != Reason("code", "Sentence.")


def test_a_failed_machine_that_comes_back_up_is_running() -> None:
    listed = shown(ended(Status.FAILED))
    assert (listed.status, listed.is_watched, listed.watch.confirm_at) == (Status.FAILED, True, NOW)
    back = observe(listed, seen(Phase.UP), NOW, LIMITS, is_single=True)
    assert (back.status, back.running_at) == (Status.RUNNING, NOW)


def test_a_reclaimed_machine_has_to_be_seen_up_twice() -> None:
    row = ended(Status.RECLAIMED)
    once = record_reappearance(row, seen(Phase.UP), NOW, LIMITS)
    assert (once.status, once.watch.doubts) == (Status.RECLAIMED, 1)
    assert shown(row, Phase.DOWN).status is Status.RECLAIMED


def test_a_machine_that_comes_up_over_again_has_a_new_deadline() -> None:
    assert shown(ended(Status.LOST), Phase.STARTING).deadline_at == NOW + 10 * MINUTE


def test_another_machine_under_the_id_of_one_that_is_gone_brings_nothing_back() -> None:
    row = ended(Status.DELETED)
    other = replace(seen(Phase.UP), name="newer-gkabcd1234567890")
    assert record_reappearance(row, other, NOW, LIMITS) == row
