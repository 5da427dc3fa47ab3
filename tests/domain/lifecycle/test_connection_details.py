"""How a machine is reached: what is known of it, when it is asked for, and when it is told."""

from datetime import datetime
from typing import Any

import pytest

from gpukeeper.domain.events import Change, EventType
from gpukeeper.domain.instances import Instance, Status
from gpukeeper.domain.lifecycle.connection_details import SSH_QUERY_AFTER
from gpukeeper.domain.lifecycle.observations import observe
from gpukeeper.domain.machines import Endpoint, Phase
from tests.domain.builders import LIMITS, MINUTE, NOW, SECOND, instance, seen
from tests.instances import edit

STARTED = NOW - 10 * MINUTE
HERE, THERE = (Endpoint(22, "tcp", "proxy:20001"),), (Endpoint(22, "tcp", "proxy:31007"),)
SOON = NOW + SSH_QUERY_AFTER


def look(row: Instance, phase: Phase = Phase.UP, **said: Any) -> Instance:
    """Return the row after a listing that says this."""
    return observe(row, seen(phase, at=NOW, **said), NOW, LIMITS)


def ask(row: Instance, **said: Any) -> Instance:
    """Return the row after Novita has answered about this machine alone."""
    return observe(row, seen(Phase.UP, at=SOON, **said), SOON, LIMITS, is_single=True)


def known(status: Status = Status.RUNNING, **changes: Any) -> Instance:
    """Return a running instance whose command is known, as a listing has shown it."""
    shown = {"ssh_command": "ssh old", "last_start_at": STARTED, "endpoints": HERE}
    return instance(status, seen_fingerprint="before", **{**shown, **changes})


def told(before: Instance, after: Instance) -> tuple[EventType, ...]:
    """Return what is told of a change."""
    return Change(before, after, NOW).event_types


@pytest.mark.parametrize(
    ("started_at", "endpoints"), [(STARTED + MINUTE, HERE), (STARTED, THERE), (None, THERE)]
)
def test_a_restart_between_two_looks_takes_the_old_command_away_and_asks_for_the_new_one(
    started_at: datetime | None, endpoints: tuple[Endpoint, ...]
) -> None:
    restarted = look(known(), started_at=started_at, endpoints=endpoints)
    assert (restarted.status, restarted.machine.ssh_command) == (Status.RUNNING, None)
    assert restarted.watch.confirm_at == SOON
    again = ask(restarted, started_at=started_at, endpoints=endpoints, ssh_command="ssh new")
    assert (again.machine.ssh_command, again.watch.confirm_at) == ("ssh new", None)
    assert told(restarted, again) == (EventType.CONNECTION_CHANGED,)


def test_a_machine_that_has_not_been_started_anew_is_not_asked_about() -> None:
    for same in (STARTED, None):
        row = look(known(), started_at=same, endpoints=HERE, image_url="other")
        assert (row.machine.ssh_command, row.watch.confirm_at) == ("ssh old", None)
        assert told(known(), row) == ()


def test_a_listing_that_lags_behind_the_last_start_takes_nothing_back() -> None:
    row = look(known(), started_at=STARTED - MINUTE, endpoints=THERE)
    assert (row.machine.ssh_command, row.watch.confirm_at) == ("ssh old", None)
    assert row.machine.last_start_at == STARTED


def test_a_start_that_is_seen_for_the_first_time_is_no_restart() -> None:
    row = look(known(last_start_at=None), started_at=STARTED, endpoints=HERE)
    assert (row.machine.ssh_command, row.machine.last_start_at) == ("ssh old", STARTED)


def test_an_answer_that_writes_addresses_differently_does_not_make_every_look_a_question() -> None:
    row = ask(known(confirm_at=NOW), started_at=STARTED, endpoints=THERE, ssh_command="ssh old")
    listed = look(row, started_at=STARTED, endpoints=HERE)
    assert (listed.machine.ssh_command, listed.watch.confirm_at) == ("ssh old", None)
    assert look(listed, started_at=STARTED, endpoints=HERE).watch.confirm_at is None


def test_a_command_that_is_listed_needs_no_question() -> None:
    row = look(known(), started_at=STARTED + MINUTE, ssh_command="ssh new")
    assert (row.machine.ssh_command, row.watch.confirm_at) == ("ssh new", None)


def test_a_restart_that_is_under_way_is_waited_for_before_it_is_asked_about() -> None:
    row = known(Status.STARTING, phase=Phase.UP)
    running = look(row, started_at=STARTED + MINUTE)
    assert (running.status, running.machine.ssh_command) == (Status.RUNNING, None)
    assert running.watch.confirm_at == SOON
    stopping = known(Status.STOPPING)
    assert look(stopping, started_at=STARTED + MINUTE).watch.confirm_at is None


def test_a_way_that_changes_while_it_runs_is_told_once_and_its_loss_is_not() -> None:
    row = known()
    assert told(row, edit(row, ssh_command="ssh new")) == (EventType.CONNECTION_CHANGED,)
    assert told(row, edit(row, endpoints=THERE)) == (EventType.CONNECTION_CHANGED,)
    assert told(row, edit(row, endpoints=THERE, ssh_command="ssh new")) == (
        EventType.CONNECTION_CHANGED,
    )
    assert told(row, edit(row, ssh_command=None)) == ()
    assert told(row, edit(row, status=Status.STOPPING, endpoints=())) == (EventType.STOPPING,)
    assert told(known(Status.STARTING, endpoints=()), row) == (EventType.RUNNING,)


def test_the_command_is_told_a_second_after_running() -> None:
    running = look(instance(Status.STARTING), started_at=STARTED, endpoints=HERE)
    assert running.watch.confirm_at == NOW + SECOND
    reached = ask(running, started_at=STARTED, endpoints=HERE, ssh_command="ssh a")
    assert told(running, reached) == (EventType.CONNECTION_CHANGED,)
    nothing = ask(running, started_at=STARTED, endpoints=HERE)
    assert told(running, nothing) == ()
