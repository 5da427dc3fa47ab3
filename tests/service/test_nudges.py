"""Nudges: whoever has work because of a change is woken, and nobody else."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from gpukeeper.domain.events import Change
from gpukeeper.domain.instances import Instance, Status
from gpukeeper.domain.wakeups import LoopName
from gpukeeper.nudges import Nudges
from tests.instances import edit
from tests.store.rows import NOW, SECOND, an_instance

ROW = an_instance(1, status=Status.CREATING, novita_id="nv1", due_at=None)
SETTLED = replace(ROW, status=Status.RUNNING)


@pytest.fixture
def woken() -> list[str]:
    return []


@pytest.fixture
def nudges(woken: list[str]) -> Nudges:
    """Give nudges that note which loop they wake."""
    nudges = Nudges()
    for loop in set(LoopName) - {LoopName.LISTEN}:
        nudges.connect(loop, partial(woken.append, loop))
    return nudges


def _changed(after: Instance, before: Instance | None = ROW) -> Change:
    return Change(before, after, NOW)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_changed(ROW), []),
        (_changed(edit(ROW, failures=1)), []),
        (_changed(replace(ROW, status=Status.STARTING)), ["events"]),
        (_changed(replace(ROW, status=Status.RUNNING)), ["events", "deliver"]),
        (_changed(replace(ROW, due_at=NOW)), ["reconcile"]),
        (_changed(replace(ROW, due_at=NOW + SECOND)), ["reconcile"]),
        (_changed(replace(ROW, due_at=NOW + 6 * SECOND)), []),
        (_changed(an_instance(1), before=None), ["events", "buy", "look"]),
        (_changed(replace(ROW, status=Status.STOPPING), before=SETTLED), ["events", "look"]),
        (
            _changed(replace(ROW, status=Status.FAILED, due_at=NOW)),
            ["events", "deliver", "reconcile"],
        ),
    ],
)
def test_a_change_wakes_the_loops_that_have_work_because_of_it(
    nudges: Nudges, woken: list[str], change: Change, expected: list[str]
) -> None:
    nudges.changed([change])
    assert woken == expected


def test_a_row_that_a_worker_holds_needs_no_other(nudges: Nudges, woken: list[str]) -> None:
    nudges.changed([_changed(replace(ROW, status=Status.RUNNING, due_at=NOW))], is_held=True)
    assert woken == ["events", "deliver"]


def test_a_drain_is_seen_by_all_and_wakes_those_who_follow_events(
    nudges: Nudges, woken: list[str]
) -> None:
    nudges.drain()
    assert nudges.is_draining
    assert woken == ["events"]


def test_several_changes_wake_for_each(nudges: Nudges, woken: list[str]) -> None:
    nudges.changed([_changed(ROW), _changed(replace(ROW, due_at=NOW))])
    assert woken == ["reconcile"]


def test_a_loop_of_another_process_finds_its_work_by_itself(
    nudges: Nudges, woken: list[str]
) -> None:
    nudges.wake(LoopName.LISTEN)
    assert woken == []


def test_everyone_who_waits_for_an_instance_gets_each_change_of_it_in_order(
    nudges: Nudges,
) -> None:
    first, second = edit(ROW, failures=1), edit(ROW, failures=2)
    with nudges.watch("ins_000001") as one, nudges.watch("ins_000001") as two:
        with nudges.watch("ins_000002") as other:
            nudges.changed([_changed(first), _changed(second, before=first)])
        assert _heard(one) == _heard(two) == [first, second]
        assert _heard(other) == []


def test_what_did_not_change_is_not_heard_of(nudges: Nudges) -> None:
    with nudges.watch("ins_000001") as changes:
        nudges.changed([_changed(ROW)])
        assert _heard(changes) == []


def test_one_who_stopped_waiting_leaves_the_others_waiting(nudges: Nudges) -> None:
    after = edit(ROW, failures=1)
    with nudges.watch("ins_000001") as stays:
        with pytest.raises(LookupError), nudges.watch("ins_000001") as leaves:
            raise LookupError
        nudges.changed([_changed(after)])
        assert _heard(stays) == [after]
        assert _heard(leaves) == []
    nudges.changed([_changed(after)])
    assert _heard(stays) == []


def _heard(changes: asyncio.Queue[Instance | None]) -> list[Instance | None]:
    return [changes.get_nowait() for _ in range(changes.qsize())]
