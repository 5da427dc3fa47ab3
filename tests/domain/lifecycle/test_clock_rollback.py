"""After the clock was set back no row waits for a time that nobody meant."""

from dataclasses import fields, is_dataclass, replace
from datetime import datetime, timedelta
from typing import Any, get_args, get_type_hints

import pytest

from gpukeeper.domain.instances import (
    Command,
    Duplicate,
    Instance,
    LastCommand,
    PurchaseIntent,
    Status,
)
from gpukeeper.domain.lifecycle.clock_rollback import KEPT, correct_times
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


def _moved(value: Any, by: timedelta) -> Any:
    """Return a noun with every time in it moved, however deep."""
    if isinstance(value, datetime):
        return value + by
    if isinstance(value, tuple):
        return tuple(_moved(each, by) for each in value)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    moved = {field.name: _moved(getattr(value, field.name), by) for field in fields(value)}
    return replace(value, **moved)


# Every time of an instance: one that is added needs its place here, and so a thought about clocks.
PAST = {
    "LastCommand.at",
    "Purchase.try_at",
    "Purchase.accepted_at",
    "PurchaseIntent.since",
    "PurchaseIntent.lookup_at",
    "Machine.gpu_off_at",
    "Machine.gone_at",
    "Watch.observed_at",
    "Watch.confirm_at",
    "Watch.unlisted_at",
    "Duplicate.found_at",
    "Duplicate.try_at",
    "Duplicate.gone_at",
}
MAY_LIE_AHEAD = {"Instance.deadline_at", "PurchaseIntent.lookup_until"}
STAYS = {
    "Instance.created_at",
    "Instance.started_at",
    "Instance.running_at",
    "Instance.deleted_at",
    "Instance.due_at",
    "Machine.reclaim_at",
    "Machine.last_start_at",
    "Attempt.at",
    "Reason.retry_at",
}


def _times(kind: Any) -> set[str]:
    """Return the times that a noun has by its annotations, however deep."""
    found: set[str] = set()
    for name, hint in get_type_hints(kind).items():
        for each in (hint, *get_args(hint)):
            if each is datetime:
                found.add(f"{kind.__name__}.{name}")
            elif is_dataclass(each):
                found |= _times(each)
    return found


def test_every_time_of_an_instance_has_its_place() -> None:
    assert _times(Instance) == PAST | MAY_LIE_AHEAD | STAYS
    kept = {name.partition(".")[2] for name in STAYS} - {"at"} | {"attempts"}
    assert kept == KEPT


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
