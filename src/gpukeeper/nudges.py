"""LoopName-ups: which loop of this process has work now, and who waits here for which instance.

A nudge only saves time: everything it tells of is in the store, and is found without it too.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from gpukeeper.domain.events import Change
from gpukeeper.domain.instances import Instance
from gpukeeper.domain.wakeups import LoopName, find_wakeups


class Nudges:
    """Connects those who change rows with the loops and requests that wait for changes."""

    def __init__(self) -> None:
        # Set by `drain` when the process is told to stop.
        self.is_draining = False
        self._loops: dict[LoopName, Callable[[], None]] = {}
        self._waiting: defaultdict[str, set[asyncio.Queue[Instance | None]]] = defaultdict(set)

    def connect(self, loop: LoopName, wake: Callable[[], None]) -> None:
        """Name the function that wakes a loop."""
        self._loops[loop] = wake

    def wake(self, loop: LoopName) -> None:
        """Wake a loop; one that does not run in this process finds its work by itself."""
        wake = self._loops.get(loop)
        if wake is not None:
            wake()

    def drain(self) -> None:
        """Have everyone who waits answer with what there is; may be called by a signal's handler.

        Idempotent.
        """
        self.is_draining = True
        self.wake(LoopName.EVENTS)

    def changed(self, changes: Iterable[Change], *, is_held: bool = False) -> None:
        """Wake the loops and requests that a stored change concerns; see :func:`find_wakeups`."""
        for change in changes:
            if change.before == change.after:
                continue
            # Those who wait before the loops, which have time.
            for waiting in self._waiting.get(change.after.id, ()):
                waiting.put_nowait(change.after)
            for loop in find_wakeups(change, is_held=is_held):
                self.wake(loop)

    def heard(self, loops: Iterable[LoopName], instance_id: str | None) -> None:
        """Wake the loops and requests that a change of another process concerns."""
        for loop in loops:
            self.wake(loop)
        for waiting in self._waiting.get(instance_id or "", ()):
            waiting.put_nowait(None)

    def missed(self) -> None:
        """Wake all: what other processes have told in the meantime was not heard."""
        for loop in list(self._loops):
            self.wake(loop)
        for queues in list(self._waiting.values()):
            for waiting in queues:
                waiting.put_nowait(None)

    @contextmanager
    def watch(self, instance_id: str) -> Iterator[asyncio.Queue[Instance | None]]:
        """Give a queue that gets this instance after each of its changes in this process.

        It gets None when another process may have changed it: then the store knows.
        """
        changed: asyncio.Queue[Instance | None] = asyncio.Queue()
        self._waiting[instance_id].add(changed)
        try:
            yield changed
        finally:
            self._waiting[instance_id].discard(changed)
            if not self._waiting[instance_id]:
                del self._waiting[instance_id]
