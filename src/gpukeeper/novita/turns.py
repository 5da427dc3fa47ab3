"""Who may ask Novita next: callers wait for the token bucket, first come first served."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from gpukeeper.domain.errors import RateLimited
from gpukeeper.novita.rate_limit import TokenBucket

OnProgress = Callable[[], None]

# A caller who would have to wait longer for Novita is told so instead of being kept waiting.
LONGEST_WAIT = timedelta(seconds=60)


class CallQueue:
    """The queue of calls in front of one bucket, in one event loop."""

    def __init__(
        self,
        bucket: TokenBucket,
        *,
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._bucket = bucket
        self._clock = clock
        self._sleep = sleep
        self._turn = asyncio.Lock()
        self._queue: list[OnProgress] = []

    async def wait(self, route: str, on_progress: OnProgress) -> bool:
        """Wait for the turn of a call and return whether that took any time.

        ``on_progress`` is called for each call that is let through meanwhile.  A long pause is
        not waited for: raises RateLimited.
        """
        self._queue.append(on_progress)
        try:
            return await self._wait_for_turn(route)
        finally:
            self._queue.remove(on_progress)

    async def _wait_for_turn(self, route: str) -> bool:
        is_behind_others = self._turn.locked()
        async with self._turn:
            wait = self._bucket.wait(self._clock())
            if wait > LONGEST_WAIT:
                raise RateLimited(
                    f"Novita asked for a pause; {route} was not tried.", retry_after=wait
                )
            if wait:
                await self._sleep(wait.total_seconds())
            self._bucket.take(self._clock())
            for tell in self._queue:
                tell()
        return is_behind_others or bool(wait)
