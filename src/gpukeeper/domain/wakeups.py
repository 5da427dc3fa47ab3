"""The background loops, and which of them have work after a change, now or soon."""

from datetime import timedelta
from enum import StrEnum

from gpukeeper.domain.events import ANNOUNCED, Change
from gpukeeper.domain.instances import Status
from gpukeeper.domain.lifecycle.transitions import IN_TRANSIT

# A loop at rest wakes this often by itself; what is due sooner is worth a nudge.
_SOON = timedelta(seconds=5)


class LoopName(StrEnum):
    """The background loops.

    Their values are in metrics, logs, ``/health`` and the notifications between processes.
    """

    EVENTS = "events"
    SWEEP = "look"
    PURCHASE = "buy"
    RECONCILE = "reconcile"
    DELIVER = "deliver"
    RETENTION = "retention"
    LISTEN = "listen"


def find_wakeups(change: Change, *, is_held: bool = False) -> tuple[LoopName, ...]:
    """Return the loops that a stored change wakes; a row that is held has a worker already."""
    if change.before == change.after:
        return ()
    loops: list[LoopName] = []
    if change.event_types:
        loops.append(LoopName.EVENTS)
    if ANNOUNCED.intersection(change.event_types):
        loops.append(LoopName.DELIVER)
    due_at = change.after.due_at
    if due_at is not None and due_at <= change.at + _SOON and not is_held:
        loops.append(
            LoopName.PURCHASE if change.after.status is Status.REQUESTED else LoopName.RECONCILE
        )
    if _begins_to_move(change):
        loops.append(LoopName.SWEEP)
    return tuple(loops)


def _begins_to_move(change: Change) -> bool:
    """Whether Novita is to be looked at more often from now on."""
    was_moving = change.before is not None and change.before.status in IN_TRANSIT
    return change.after.status in IN_TRANSIT and not was_moving
