"""Whom a change concerns: which loops have work because of it, now or soon."""

from datetime import timedelta
from enum import StrEnum

from gpukeeper.domain.events import ANNOUNCED, Change
from gpukeeper.domain.instances import Status
from gpukeeper.domain.lifecycle.decide import IN_TRANSIT

# A loop at rest wakes this often by itself; what is due sooner is worth a nudge.
_SOON = timedelta(seconds=5)


class Wake(StrEnum):
    """Who can be woken: a background loop by its name, or whoever follows events."""

    LOOK = "look"
    BUY = "buy"
    RECONCILE = "reconcile"
    DELIVER = "deliver"
    EVENTS = "events"


def find_wakeups(change: Change, *, is_held: bool = False) -> tuple[Wake, ...]:
    """Return whom a stored change concerns; a row that is held has a worker already."""
    if change.before == change.after:
        return ()
    wakes: list[Wake] = []
    if change.event_types:
        wakes.append(Wake.EVENTS)
    if ANNOUNCED.intersection(change.event_types):
        wakes.append(Wake.DELIVER)
    due_at = change.after.due_at
    if due_at is not None and due_at <= change.at + _SOON and not is_held:
        wakes.append(Wake.BUY if change.after.status is Status.REQUESTED else Wake.RECONCILE)
    if _begins_to_move(change):
        wakes.append(Wake.LOOK)
    return tuple(wakes)


def _begins_to_move(change: Change) -> bool:
    """Whether Novita is to be looked at more often from now on."""
    was_moving = change.before is not None and change.before.status in IN_TRANSIT
    return change.after.status in IN_TRANSIT and not was_moving
