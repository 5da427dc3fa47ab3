"""What holds of a row whatever happens to it, stated once."""

from collections.abc import Sequence
from datetime import datetime

from gpukeeper.domain.events import Change, EventType
from gpukeeper.domain.instances import Command, Instance, OnFailure, Status
from gpukeeper.domain.lifecycle.decide import schedule
from gpukeeper.domain.lifecycle.transitions import IN_TRANSIT
from gpukeeper.domain.machines import Phase
from tests.domain.builders import LIMITS
from tests.domain.lifecycle.world import Machine

_BAD_ENDS = (Status.FAILED, Status.RECLAIMED, Status.LOST)
_BESIDE_STATUSES = {EventType.RECLAIM_NOTIFIED, EventType.CONNECTION_CHANGED}
_ENDS_WITHOUT_MACHINE = (*_BAD_ENDS, Status.DELETED)


def check_change(
    before: Instance, after: Instance, now: datetime, alive: Sequence[Machine]
) -> None:
    """Check one change that is stored, against the machines that cost money."""
    assert schedule(after, now, LIMITS) == after
    assert after.due_at is None or after.due_at >= now
    assert before.machine.novita_id in (None, after.machine.novita_id)
    assert after.purchase.intent is None or after.machine.novita_id is None
    assert len(alive) <= 1
    assert after.machine.gone_at is None or not alive
    kinds = Change(before, after, now).event_types
    told = [kind for kind in kinds if kind not in _BESIDE_STATUSES]
    assert len(told) == (before.status is not after.status)
    if after.status in _BAD_ENDS:
        assert after.reason is not None
    if after.status in (Status.DELETED, Status.LOST):
        assert after.machine.gone_at is not None
        assert after.due_at is None


def check_may_ask(row: Instance, verb: Command, owner_wants: Command | None) -> None:
    """Check that nothing is done to a machine that nobody wants done."""
    if verb is Command.START:
        assert row.status in (Status.CREATING, Status.STARTING)
    elif verb is Command.DELETE:
        is_failure = row.order.on_failure is OnFailure.DELETE and row.running_at is None
        assert owner_wants is Command.DELETE or is_failure
    else:
        assert owner_wants is verb


def check_end(row: Instance, alive: Sequence[Machine], owner_wants: Command | None) -> None:
    """Check that everything has found its end: what lives is known, nothing is in between."""
    assert row.status not in IN_TRANSIT
    assert row.purchase.intent is None
    if not alive:
        assert not row.is_watched
        assert row.status in _ENDS_WITHOUT_MACHINE
        return
    (machine,) = alive
    assert owner_wants is not Command.DELETE
    assert (row.machine.novita_id, row.is_watched) == (machine.novita_id, True)
    is_up = machine.phase is Phase.UP
    ends = {Status.RUNNING} if is_up else {Status.STOPPED, Status.RECLAIMED, Status.FAILED}
    assert row.status in ends
