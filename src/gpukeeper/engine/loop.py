"""The background loops: they rest until something is due or nudged, beat, and drain.

A loop never forgets by being stopped: what is due is a column in the store, so whatever is not
done now is found again by the next turn, in this process or another.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from gpukeeper.domain.errors import StoreUnavailable
from gpukeeper.domain.wakeups import LoopName
from gpukeeper.telemetry import Logger

Clock = Callable[[], datetime]

# A loop at rest wakes this often to show that it lives, and to see what another process stored.
LONGEST_REST = timedelta(seconds=5)
# After an error of our own: long enough not to fill the log, short enough to recover by itself.
_REST_AFTER_ERROR = timedelta(seconds=2)


class Loop:
    """One background loop around ``turn``, which does what is due and returns what is due next."""

    def __init__(
        self,
        name: LoopName,
        turn: Callable[[], Awaitable[datetime | None]],
        *,
        clock: Clock,
        log: Logger,
        max_silence: timedelta,
        on_beat: Callable[[str], None],
        on_error: Callable[[str], None],
    ) -> None:
        self.name = name
        self.max_silence = max_silence
        self.beat_at: datetime | None = None
        self._turn = turn
        self._clock = clock
        self._log = log
        self._on_beat = on_beat
        self._on_error = on_error
        self._nudged = asyncio.Event()
        self._is_draining = False
        self._has_failed = False
        self.is_running = False

    def nudge(self) -> None:
        """Wake the loop now."""
        self._nudged.set()

    def drain(self) -> None:
        """Let the loop end after the turn it is in."""
        self._is_draining = True
        self._nudged.set()

    def beat(self) -> None:
        """Show that the loop lives; one whose turns keep failing is not alive.

        A turn that may take long shows it, too, whenever it gets on.
        """
        if not self._has_failed:
            self.beat_at = self._clock()
            self._on_beat(self.name)

    async def run(self) -> None:
        """Turn until drained; an error of our own is logged and the loop goes on."""
        self.is_running = True
        try:
            await self._run()
        finally:
            self.is_running = False

    async def _run(self) -> None:
        while not self._is_draining:
            self.beat()
            self._nudged.clear()
            try:
                due_at = await self._turn()
                self._has_failed = False
            except StoreUnavailable as error:
                self._log.error("store_unavailable", loop=self.name, error=error.message)
                due_at = self._after_failure()
            except Exception:  # noqa: BLE001 - a fault of ours: logged, counted, tried again
                self._log.exception("loop_failed", loop=self.name)
                self._on_error(self.name)
                due_at = self._after_failure()
            await self._rest(due_at)

    def _after_failure(self) -> datetime:
        self._has_failed = True
        return self._clock() + _REST_AFTER_ERROR

    async def _rest(self, due_at: datetime | None) -> None:
        now = self._clock()
        until = min(due_at or now + LONGEST_REST, now + LONGEST_REST)
        seconds = max((until - now).total_seconds(), 0.0)
        try:
            async with asyncio.timeout(seconds):
                await self._nudged.wait()
        except TimeoutError:
            return


class Workers:
    """A bounded set of tasks that work on claimed rows side by side.

    ``on_free`` is called when a task has ended that somebody waited for (:meth:`call_when_free`).
    """

    def __init__(
        self, name: LoopName, limit: int, *, log: Logger, on_error: Callable[[str], None]
    ) -> None:
        self._name = name
        self.limit = limit
        self._log = log
        self._on_error = on_error
        self._tasks: dict[asyncio.Task[None], tuple[str, str]] = {}
        self._reserved = 0
        self._is_awaited = False
        self.on_free: Callable[[], None] | None = None
        # Set by whoever claims rows, when there may be more than there was room for.
        self.is_in_arrears = False

    @property
    def room(self) -> int:
        """How many more tasks may start now."""
        return self.limit - len(self._tasks) - self._reserved

    @contextmanager
    def reserve(self) -> Iterator[bool]:
        """Keep room for one task that is about to start, and say whether there is any.

        There is none while rows are waiting for it, so that none that comes later passes them.
        """
        has_room = self.room > 0 and not self.is_in_arrears
        self._reserved += has_room
        try:
            yield has_room
        finally:
            self._reserved -= has_room

    def call_when_free(self) -> None:
        """Have ``on_free`` called as soon as a task ends; once, however often this is called."""
        self._is_awaited = True

    @property
    def held(self) -> dict[str, str]:
        """The rows that the tasks under way work on, each with the token of its lease."""
        return dict(self._tasks.values())

    def start(self, work: Coroutine[None, None, None], row_id: str, lease_token: str) -> None:
        """Start a task on a row that this lease holds.

        An error of our own, or of the store's, is logged and leaves its row leased: the row is
        tried again when the lease ends, by whoever claims it then.
        """
        task = asyncio.create_task(self._guard(work), name=self._name)
        self._tasks[task] = (row_id, lease_token)
        task.add_done_callback(self._done)

    async def drain(self, patience: timedelta) -> None:
        """Wait for the tasks that are under way; those that take longer are cancelled.

        What a cancelled task was doing is found again in the store, as after a crash.
        """
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=patience.total_seconds())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if self._is_awaited and self.on_free is not None:
            self._is_awaited = False
            self.on_free()

    async def _guard(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except StoreUnavailable as error:
            self._log.error("store_unavailable", worker=self._name, error=error.message)
        except Exception:  # noqa: BLE001 - a fault of ours: logged, counted, tried again
            self._log.exception("worker_failed", worker=self._name)
            self._on_error(self._name)
