"""One observation folded into the row: what it changes, and what it must not."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from gpukeeper.domain.instances import Command, DesiredState, Instance, LastCommand, Reason, Status
from gpukeeper.domain.lifecycle.commands import request_command
from gpukeeper.domain.lifecycle.connection_details import SSH_QUERY_AFTER
from gpukeeper.domain.lifecycle.decide import decide
from gpukeeper.domain.lifecycle.observations import fingerprint, observe
from gpukeeper.domain.lifecycle.steps import Confirm
from gpukeeper.domain.machines import Endpoint, Observation, Phase, SpotSignal
from tests.domain.builders import LIMITS, MINUTE, NOW, ON_DEMAND, SECOND, instance, requested, seen
from tests.instances import edit

S, P = Status, Phase


def look(
    row: Instance, phase: Phase, *, at: datetime = NOW, is_single: bool = False, **changes: Any
) -> Instance:
    """Return the row after one look that says this phase."""
    return observe(row, seen(phase, at=at, **changes), at, LIMITS, is_single=is_single)


# Believed at the first look. What is not listed changes nothing.
FIRST_LOOK = {
    (S.CREATING, P.STARTING): S.STARTING,
    (S.CREATING, P.UP): S.RUNNING,
    (S.STARTING, P.UP): S.RUNNING,
    (S.RUNNING, P.GOING_DOWN): S.STOPPING,
    (S.RUNNING, P.GOING): S.STOPPING,
    (S.RUNNING, P.DOWN): S.STOPPED,
    (S.STOPPING, P.DOWN): S.STOPPED,
}
# Believed when the next look repeats it.
SECOND_LOOK = {
    (S.RUNNING, P.PREPARING): S.STARTING,
    (S.RUNNING, P.STARTING): S.STARTING,
    (S.STOPPED, P.PREPARING): S.STARTING,
    (S.STOPPED, P.STARTING): S.STARTING,
    (S.STOPPED, P.UP): S.RUNNING,
    (S.RECLAIMED, P.PREPARING): S.STARTING,
    (S.RECLAIMED, P.STARTING): S.STARTING,
    (S.RECLAIMED, P.UP): S.RUNNING,
}
WATCHED = sorted(set(Status) - {S.REQUESTED, S.DELETED, S.LOST})


@pytest.mark.parametrize("is_single", [False, True])
@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not P.GONE])
@pytest.mark.parametrize("status", WATCHED)
def test_what_a_look_makes_of_a_status(status: Status, phase: Phase, is_single: bool) -> None:
    row = instance(status, order=ON_DEMAND)
    once = look(row, phase, is_single=is_single)
    twice = look(once, phase, at=NOW + SECOND, is_single=is_single)
    expected = FIRST_LOOK.get((status, phase), status)
    if (status, phase) == (S.FAILED, P.UP):
        # A listing leads to a question about this machine alone.
        asked_again_at = NOW + SSH_QUERY_AFTER if is_single else NOW
        assert once.watch.confirm_at == asked_again_at
        assert once.status is (S.RUNNING if is_single else status)
        assert twice.status is once.status
        return
    assert once.status is expected
    assert twice.status is SECOND_LOOK.get((status, phase), expected)
    assert twice.machine.novita_status == seen(phase).word


@pytest.mark.parametrize(
    "row",
    [requested(), instance(S.LOST, gone_at=NOW), instance(S.DELETED, gone_at=NOW)],
)
@pytest.mark.parametrize("phase", Phase)
def test_a_row_without_a_machine_is_never_changed(row: Instance, phase: Phase) -> None:
    assert look(row, phase) is row


@pytest.mark.parametrize("is_single", [False, True])
@pytest.mark.parametrize("phase", Phase)
def test_what_was_asked_before_the_last_verb_was_answered_says_nothing(
    phase: Phase, is_single: bool
) -> None:
    row = instance(S.STOPPING, last_command=LastCommand(Command.STOP, NOW + SECOND))
    assert look(row, phase, is_single=is_single) is row
    assert look(row, phase, at=NOW + SECOND, is_single=is_single) != row


def test_going_back_once_is_a_doubt_and_nothing_more() -> None:
    row = instance(S.RUNNING, misses=1, failures=2, confirm_at=NOW, seen_fingerprint="up")
    doubted = look(row, P.STARTING)
    assert (doubted.status, doubted.watch.doubts, doubted.machine.phase) == (S.RUNNING, 1, P.UP)
    # It exists, or it would not be seen: the absence before does not count any more.
    assert (doubted.watch.misses, doubted.watch.failures, doubted.watch.confirm_at) == (0, 0, None)
    # An equal listing has to be taken in, or the doubt would never be settled.
    assert doubted.watch.seen_fingerprint is None
    cleared = look(doubted, P.UP)
    assert (cleared.status, cleared.watch.doubts) == (S.RUNNING, 0)
    assert look(cleared, P.STARTING).status is S.RUNNING


def test_a_machine_that_is_still_up_is_no_news() -> None:
    row = instance(S.RUNNING, running_at=NOW - MINUTE, last_command=LastCommand(Command.START, NOW))
    again = look(row, P.UP)
    assert (again.watch.doubts, again.running_at) == (0, NOW - MINUTE)


def test_a_machine_that_is_not_down_yet_after_a_wished_stop_is_no_surprise() -> None:
    stopping = request_command(instance(S.RUNNING), Command.STOP, NOW)
    for phase in (P.STARTING, P.UP):
        assert (look(stopping, phase).watch.doubts, look(stopping, phase).machine.phase) == (
            0,
            phase,
        )


def test_a_machine_that_starts_over_has_a_new_deadline() -> None:
    row = look(instance(S.RUNNING, doubts=1), P.STARTING, at=NOW + MINUTE)
    assert (row.status, row.started_at) == (S.STARTING, NOW + MINUTE)
    assert row.deadline_at == NOW + 11 * MINUTE


def test_a_life_begins_when_novita_accepted_it_and_not_when_it_is_seen() -> None:
    row = instance(S.CREATING)
    for phase in (P.STARTING, P.UP, P.GOING_DOWN, P.DOWN):
        row = look(row, phase)
        assert row.started_at == NOW - 5 * MINUTE


def test_a_start_by_someone_else_is_what_is_wanted_now() -> None:
    stopped = instance(S.STOPPED, doubts=1)
    assert look(stopped, P.STARTING).desired_state is DesiredState.RUNNING
    assert look(stopped, P.UP).desired_state is DesiredState.RUNNING


@pytest.mark.parametrize(
    ("phase", "status"),
    [(P.UP, S.RUNNING), (P.STARTING, S.STARTING), (P.PREPARING, S.STARTING)],
)
def test_a_stop_by_someone_else_that_is_taken_back_leaves_the_machine_running(
    phase: Phase, status: Status
) -> None:
    stopping = look(instance(S.RUNNING, order=ON_DEMAND), P.GOING_DOWN)
    assert stopping.reason == Reason("stopped_elsewhere", "Novita says 'stopping'.")
    assert stopping.desired_state is DesiredState.RUNNING
    assert look(stopping, phase).status is S.STOPPING
    back = look(look(stopping, phase), phase)
    assert (back.status, back.desired_state, back.reason) == (status, DesiredState.RUNNING, None)


def test_a_stop_by_someone_else_ends_stopped_with_the_reason() -> None:
    stopped = look(look(instance(S.RUNNING, order=ON_DEMAND), P.GOING_DOWN), P.DOWN)
    assert (stopped.status, stopped.desired_state) == (S.STOPPED, DesiredState.STOPPED)
    assert stopped.reason is not None
    assert stopped.reason.code == "stopped_elsewhere"


def test_a_wished_stop_ends_stopped_without_a_reason() -> None:
    stopped = look(request_command(instance(S.RUNNING), Command.STOP, NOW), P.DOWN)
    assert (stopped.status, stopped.reason) == (S.STOPPED, None)


@pytest.mark.parametrize("status", [S.CREATING, S.STARTING])
@pytest.mark.parametrize("phase", [P.PREPARING, P.STARTING, P.DOWN])
def test_a_boot_error_fails_the_start_with_novitas_words(status: Status, phase: Phase) -> None:
    failed = look(instance(status), phase, error="manifest unknown")
    assert failed.status is S.FAILED
    assert failed.reason == Reason("boot_failed", "Novita: manifest unknown")


def test_an_error_that_novita_takes_back_is_forgotten() -> None:
    row = look(instance(S.STARTING), P.UNKNOWN, error="image pull backoff")
    assert row.reason == Reason("boot_failed", "Novita: image pull backoff")
    assert look(row, P.STARTING).status is S.STARTING
    assert look(row, P.UP).reason is None


def test_an_error_of_a_machine_that_was_up_is_not_its_end() -> None:
    row = look(instance(S.RUNNING), P.UP, error="node unreachable")
    assert (row.status, row.reason) == (S.RUNNING, None)


def test_a_failure_keeps_its_reason_until_the_machine_comes_up() -> None:
    reason = Reason("startup_timeout", "Too late.")
    failed = look(instance(S.FAILED, reason=reason), P.STARTING, error="other")
    assert failed.reason == reason
    late = look(failed, P.UP, at=NOW + MINUTE, is_single=True)
    assert (late.status, late.reason, late.running_at) == (S.RUNNING, None, NOW + MINUTE)


def test_a_failed_machine_that_is_listed_once_with_its_former_word_is_not_announced() -> None:
    failed = instance(S.FAILED, reason=Reason("startup_timeout", "Late."))
    listed = look(failed, P.UP)
    assert (listed.status, decide(listed, NOW, LIMITS)) == (S.FAILED, Confirm())
    again = look(edit(listed, confirm_at=NOW - SECOND), P.UP)
    assert again.watch.confirm_at == NOW - SECOND
    down = look(listed, P.DOWN, is_single=True)
    assert (down.status, down.reason, down.watch.confirm_at) == (S.FAILED, failed.reason, None)
    assert look(listed, P.UP, is_single=True).status is S.RUNNING


def test_what_failed_while_it_was_to_be_stopped_is_stopped_once_it_is_up() -> None:
    failed = instance(
        S.FAILED, desired_state=DesiredState.STOPPED, reason=Reason("startup_timeout", "Late.")
    )
    late = look(failed, P.UP, is_single=True)
    assert (late.status, late.desired_state) == (S.STOPPING, DesiredState.STOPPED)
    assert look(late, P.DOWN, at=NOW + MINUTE).status is S.STOPPED


def test_after_a_wished_start_the_life_before_is_not_taken_for_the_new_one() -> None:
    row = request_command(instance(S.FAILED, phase=P.DOWN), Command.START, NOW)
    before: dict[str, Any] = {"error": "manifest unknown", "spot_signal": SpotSignal.TERMINATED}
    unasked = look(row, P.DOWN, at=NOW + MINUTE, **before)
    assert (unasked.status, unasked.reason) == (S.STARTING, None)
    asked_at = NOW + MINUTE
    asked = edit(
        unasked, pending_command=None, last_command=LastCommand(Command.START, asked_at, 1, True)
    )
    early = look(asked, P.DOWN, at=asked_at + 29 * SECOND, **before)
    assert (early.status, early.reason) == (S.STARTING, None)
    # An equal listing is taken in again later, since time alone makes it count.
    assert early.watch.seen_fingerprint is None
    assert look(early, P.DOWN, at=asked_at + 30 * SECOND, **before).status is S.RECLAIMED
    no_signal = look(early, P.DOWN, at=asked_at + 30 * SECOND, error="manifest unknown")
    assert no_signal.status is S.FAILED


def test_just_after_a_start_an_old_listing_does_not_bring_a_running_machine_down() -> None:
    started = instance(S.STARTING, last_command=LastCommand(Command.START, NOW, 1, True))
    running = look(started, P.UP, at=NOW + SECOND, is_single=True)
    assert running.status is S.RUNNING
    stale = look(running, P.DOWN, at=NOW + 2 * SECOND)
    assert (stale.status, stale.watch.doubts) == (S.RUNNING, 1)
    assert look(stale, P.DOWN, at=NOW + 3 * SECOND).status is S.RECLAIMED
    assert look(running, P.DOWN, at=NOW + MINUTE).status is S.RECLAIMED


def test_a_restart_ends_only_after_it_was_accepted_or_seen() -> None:
    row = request_command(instance(S.RUNNING), Command.RESTART, NOW)
    assert look(row, P.UP).status is S.STARTING
    assert look(edit(row, pending_command=None), P.UP).status is S.RUNNING
    unanswered = edit(row, last_command=LastCommand(Command.RESTART, NOW))
    begun = look(unanswered, P.STARTING)
    assert (begun.status, begun.pending_command) == (S.STARTING, None)
    assert look(row, P.STARTING).pending_command is Command.RESTART


def test_the_row_shows_what_novita_shows() -> None:
    endpoint = Endpoint(8000, "http", "https://m1-8000.example")
    row = look(
        instance(S.STARTING, doubts=1, misses=1, failures=3, confirm_at=NOW, image_url="old"),
        P.UP,
        endpoints=(endpoint,),
        ssh_command="ssh -p 1 root@proxy.example",
        image_url="docker.io/acme/worker:1.5",
    )
    assert (row.machine.novita_status, row.machine.phase, row.watch.observed_at) == (
        "running",
        P.UP,
        NOW,
    )
    assert (row.machine.endpoints, row.machine.ssh_command) == (
        (endpoint,),
        "ssh -p 1 root@proxy.example",
    )
    assert row.machine.image_url == "docker.io/acme/worker:1.5"
    assert (row.watch.doubts, row.watch.misses, row.watch.failures, row.watch.confirm_at) == (
        0,
        0,
        0,
        None,
    )
    assert look(row, P.UP).machine.image_url == "docker.io/acme/worker:1.5"


def test_a_listing_without_the_ssh_command_does_not_take_it_away() -> None:
    row = instance(S.RUNNING, ssh_command="ssh a")
    assert look(row, P.UP).machine.ssh_command == "ssh a"
    assert look(row, P.UP, ssh_command="ssh b").machine.ssh_command == "ssh b"
    assert look(row, P.UP, is_single=True).machine.ssh_command is None
    assert look(row, P.GOING_DOWN).machine.ssh_command is None
    assert (
        look(instance(S.STOPPED, doubts=1, ssh_command="ssh a"), P.UP).machine.ssh_command is None
    )


def test_what_listings_leave_out_is_asked_for_once_when_a_machine_comes_up() -> None:
    running = look(instance(S.STARTING), P.UP)
    soon = NOW + SSH_QUERY_AFTER
    assert (running.status, running.watch.confirm_at) == (S.RUNNING, soon)
    assert look(running, P.UP, endpoints=()).watch.confirm_at == soon
    assert look(running, P.UP, at=soon).watch.confirm_at is None
    told = look(running, P.UP, is_single=True, ssh_command="ssh a")
    assert (told.machine.ssh_command, told.watch.confirm_at) == ("ssh a", None)
    assert look(running, P.UP, is_single=True).watch.confirm_at is None
    assert look(instance(S.STARTING), P.UP, ssh_command="ssh a").watch.confirm_at is None


def test_only_what_a_listing_says_is_remembered_to_be_equal() -> None:
    row = instance(S.RUNNING)
    assert look(row, P.UP).watch.seen_fingerprint == fingerprint(seen(P.UP))
    assert look(row, P.UP, is_single=True).watch.seen_fingerprint is None


def test_a_fingerprint_is_of_what_is_said_and_not_of_when() -> None:
    assert fingerprint(seen(P.UP)) == fingerprint(seen(P.UP, at=NOW + MINUTE))


def differing() -> list[Observation]:
    return [
        seen(P.UP, word="Running"),
        seen(P.UP, error="e"),
        seen(P.UP, spot_signal=SpotSignal.NOTIFIED),
        seen(P.UP, reclaim_at=NOW),
        seen(P.UP, endpoints=(Endpoint(1, "tcp", "h:1"),)),
        seen(P.UP, ssh_command="ssh"),
        seen(P.UP, price_per_hour=Decimal("0.1")),
        seen(P.DOWN),
    ]


def test_every_difference_in_what_is_said_shows_in_the_fingerprint() -> None:
    prints = [fingerprint(said) for said in [seen(P.UP), *differing()]]
    assert len(set(prints)) == len(prints)
