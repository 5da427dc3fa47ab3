"""After the clock was set back no row waits for a time that nobody meant."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from gpukeeper.domain.instances import (
    Command,
    Duplicate,
    Instance,
    LastCommand,
    PurchaseIntent,
    Status,
)
from gpukeeper.domain.lifecycle.clock_rollback import correct_times
from gpukeeper.domain.lifecycle.decide import schedule
from tests.domain.builders import LIMITS, MINUTE, NOW, SECOND, instance, offer, requested

STEP = timedelta(hours=2)
# What rows look like at NOW, each with its times as far ahead as they ever are.
ROWS = [
    requested(try_at=NOW + 15 * SECOND),
    requested(intent=PurchaseIntent(offer(), NOW)),
    requested(
        intent=PurchaseIntent(offer(), NOW, NOW + LIMITS.adoption_window, NOW + 15 * SECOND, 4)
    ),
    instance(Status.CREATING, accepted_at=NOW, observed_at=NOW, deadline_at=NOW + 10 * MINUTE),
    instance(Status.RUNNING, confirm_at=NOW + MINUTE),
    instance(
        Status.DELETING, last_command=LastCommand(Command.DELETE, NOW, 9, is_acknowledged=True)
    ),
    instance(Status.DELETED, gone_at=NOW, duplicates=(Duplicate("m2", NOW, NOW + 5 * MINUTE),)),
    instance(Status.RUNNING, duplicates=(Duplicate("m2", NOW, NOW, gone_at=NOW),)),
]


def ahead(row: Instance) -> Instance:
    """Return the row as a clock has left it that was two hours ahead."""
    return schedule(_moved(row, STEP), NOW + STEP, LIMITS)


def _moved(row: Any, by: timedelta) -> Any:
    """Return a dataclass with every time in it moved, however deep."""
    changes: dict[str, Any] = {}
    for name in row.__slots__:
        value = getattr(row, name)
        if hasattr(value, "tzinfo"):
            changes[name] = value + by
        elif isinstance(value, LastCommand | PurchaseIntent):
            changes[name] = _moved(value, by)
        elif name == "surplus":
            changes[name] = tuple(_moved(machine, by) for machine in value)
    return replace(row, **changes)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_that_a_clock_ahead_has_left_is_due_no_later_than_it_would_be(row: Instance) -> None:
    meant = schedule(row, NOW, LIMITS)
    righted = correct_times(ahead(row), NOW, LIMITS)
    assert (righted.due_at is None) == (meant.due_at is None)
    if righted.due_at is not None and meant.due_at is not None:
        assert NOW <= righted.due_at <= meant.due_at


@pytest.mark.parametrize("row", ROWS)
def test_nothing_that_has_happened_stays_in_the_future(row: Instance) -> None:
    righted = correct_times(ahead(row), NOW, LIMITS)
    past = [righted.purchase.accepted_at, righted.machine.gone_at, righted.watch.observed_at]
    past += [righted.last_command.at] if righted.last_command else []
    past += [righted.purchase.intent.since] if righted.purchase.intent else []
    past += [machine.found_at for machine in righted.duplicates]
    past += [machine.gone_at for machine in righted.duplicates]
    assert all(at is None or at <= NOW for at in past)


@pytest.mark.parametrize("row", ROWS)
def test_a_machine_gets_no_longer_to_start_than_it_would_have_got(row: Instance) -> None:
    righted = correct_times(ahead(row), NOW, LIMITS)
    assert righted.deadline_at <= NOW + row.order.startup_timeout


def test_a_lost_answer_is_still_looked_up_for_the_whole_window() -> None:
    righted = correct_times(ahead(ROWS[2]), NOW, LIMITS)
    assert righted.purchase.intent is not None
    assert righted.purchase.intent.lookup_until == NOW + LIMITS.adoption_window


@pytest.mark.parametrize(
    "row", [schedule(instance(status), NOW, LIMITS) for status in Status] + [requested(due_at=NOW)]
)
def test_a_row_without_such_times_is_not_touched(row: Instance) -> None:
    assert correct_times(row, NOW, LIMITS) is row
