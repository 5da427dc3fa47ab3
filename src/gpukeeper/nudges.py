"""Wake-ups within one process: which loop has work now, and who waits for which instance.

A nudge only saves time: everything it tells of is in the store, and is found without it too.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from gpukeeper.domain.events import ANNOUNCED, Change
from gpukeeper.domain.instance import Instance, Status
from gpukeeper.domain.lifecycle import IN_TRANSIT

# A loop at rest wakes this often by itself; what is due sooner is worth a nudge.
_SOON = timedelta(seconds=5)


class Nudges:
    """Connects those who change rows with the loops and requests that wait for changes."""

    def __init__(self) -> None:
        # Set by `drain` when the process is told to stop.
        self.is_draining = False
        self._loops: dict[str, Callable[[], None]] = {}
        self._waiting: defaultdict[str, set[asyncio.Queue[Instance]]] = defaultdict(set)

    def connect(self, loop: str, wake: Callable[[], None]) -> None:
        """Name the function that wakes a loop."""
        self._loops[loop] = wake

    def wake(self, loop: str) -> None:
        """Wake a loop; one that does not run in this process finds its work by itself."""
        wake = self._loops.get(loop)
        if wake is not None:
            wake()

    def drain(self) -> None:
        """Have everyone who waits answer with what there is; may be called by a signal's handler.

        Idempotent.
        """
        self.is_draining = True
        self.wake("events")

    def changed(self, changes: Iterable[Change], *, is_held: bool = False) -> None:
        """Wake whoever a stored change concerns; a row that is held has a worker already."""
        for change in changes:
            if change.before == change.after:
                continue
            if change.event_types:
                self.wake("events")
            if ANNOUNCED.intersection(change.event_types):
                self.wake("deliver")
            due_at = change.after.due_at
            if due_at is not None and due_at <= change.at + _SOON and not is_held:
                self.wake("buy" if change.after.status is Status.REQUESTED else "reconcile")
            if _begins_to_move(change):
                self.wake("look")
            for waiting in self._waiting.get(change.after.id, ()):
                waiting.put_nowait(change.after)

    @contextmanager
    def watch(self, instance_id: str) -> Iterator[asyncio.Queue[Instance]]:
        """Give a queue that gets this instance after each of its changes in this process."""
        changed: asyncio.Queue[Instance] = asyncio.Queue()
        self._waiting[instance_id].add(changed)
        try:
            yield changed
        finally:
            self._waiting[instance_id].discard(changed)
            if not self._waiting[instance_id]:
                del self._waiting[instance_id]


def _begins_to_move(change: Change) -> bool:
    """Whether Novita is to be looked at more often from now on."""
    was_moving = change.before is not None and change.before.status in IN_TRANSIT
    return change.after.status in IN_TRANSIT and not was_moving
