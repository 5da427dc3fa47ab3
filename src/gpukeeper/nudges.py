"""Wake-ups within one process: which loop has work now, and who waits for which instance.

A nudge only saves time: everything it tells of is in the store, and is found without it too.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from gpukeeper.domain.events import ANNOUNCED, Change
from gpukeeper.domain.instance import Status


class Nudges:
    """Connects those who change rows with the loops and requests that wait for changes."""

    def __init__(self) -> None:
        # Set when the process is told to stop: requests that wait answer with what there is.
        self.is_draining = False
        self._loops: dict[str, Callable[[], None]] = {}
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def connect(self, loop: str, wake: Callable[[], None]) -> None:
        """Name the function that wakes a loop."""
        self._loops[loop] = wake

    def wake(self, loop: str) -> None:
        """Wake a loop; one that does not run in this process finds its work by itself."""
        wake = self._loops.get(loop)
        if wake is not None:
            wake()

    def changed(self, changes: Iterable[Change]) -> None:
        """Wake whoever a stored change concerns."""
        for change in changes:
            if change.before == change.after:
                continue
            if ANNOUNCED.intersection(change.event_types):
                self.wake("deliver")
            due_at = change.after.due_at
            if due_at is not None and due_at <= change.at:
                self.wake("buy" if change.after.status is Status.REQUESTED else "reconcile")
            if change.before is None or change.before.status is not change.after.status:
                self.wake("look")
            for waiting in self._waiting.get(change.after.id, ()):
                waiting.set()

    @contextmanager
    def watch(self, instance_id: str) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever this instance changes in this process."""
        changed = asyncio.Event()
        self._waiting[instance_id].add(changed)
        try:
            yield changed
        finally:
            self._waiting[instance_id].discard(changed)
            if not self._waiting[instance_id]:
                del self._waiting[instance_id]
