"""Who is woken by a change."""

from dataclasses import replace
from datetime import timedelta

from gpukeeper.domain.events import Change
from gpukeeper.domain.instances import Status
from gpukeeper.domain.wakeups import LoopName, find_wakeups
from tests.domain.builders import NOW, instance


def test_a_change_that_changes_nothing_wakes_nobody() -> None:
    row = instance(Status.RUNNING)
    assert find_wakeups(Change(row, row, NOW)) == ()


def test_a_new_order_wakes_who_buys_who_looks_and_who_follows() -> None:
    ordered = replace(instance(Status.REQUESTED), due_at=NOW)
    assert set(find_wakeups(Change(None, ordered, NOW))) == {
        LoopName.EVENTS,
        LoopName.PURCHASE,
        LoopName.SWEEP,
    }


def test_a_row_that_is_held_or_due_later_needs_nobody_else() -> None:
    before = instance(Status.STARTING)
    due = replace(before, due_at=NOW)
    later = replace(before, due_at=NOW + timedelta(minutes=1))
    assert find_wakeups(Change(before, due, NOW)) == (LoopName.RECONCILE,)
    assert find_wakeups(Change(before, due, NOW), is_held=True) == ()
    assert find_wakeups(Change(before, later, NOW)) == ()


def test_an_announced_change_wakes_who_delivers() -> None:
    change = Change(instance(Status.STARTING), instance(Status.RUNNING), NOW)
    assert {LoopName.EVENTS, LoopName.DELIVER} <= set(find_wakeups(change))
