"""Hand out HTTP connections, each to one request at a time.

A request looks at the connection that it gets only, so that it costs the same however many there
are: the HTTP library's own pool looks at all of them, whenever a request begins or ends.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx2


def limit_to_one_connection(keep_alive_seconds: float) -> httpx2.Limits:
    """Return the limits of a transport that is one connection, ended when idle for so long."""
    return httpx2.Limits(
        max_connections=1, max_keepalive_connections=1, keepalive_expiry=keep_alive_seconds
    )


class HttpPool:
    """The connections to one place; close them with :meth:`aclose`.

    ``build`` makes what carries the requests of one connection, and is closed here.  No more than
    ``limit`` connections are in use at a time, if there is a limit: others wait, for
    ``patience_seconds`` at most.  One that was idle for ``keep_alive_seconds`` is closed when
    the next request begins.  Safe for concurrent use by the tasks of one event loop.
    """

    def __init__(
        self,
        build: Callable[[], httpx2.AsyncBaseTransport],
        *,
        keep_alive_seconds: float,
        limit: int | None = None,
        patience_seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._build = build
        self._keep_alive_seconds = keep_alive_seconds
        self._turns = None if limit is None else asyncio.Semaphore(limit)
        self._patience_seconds = patience_seconds
        self._clock = clock
        # Idle ones and since when; the last one is used first, so that the others may go.
        self._idle: deque[tuple[float, httpx2.AsyncBaseTransport]] = deque()
        self._busy: set[httpx2.AsyncBaseTransport] = set()
        self._is_closed = False

    @asynccontextmanager
    async def ask(self, request: httpx2.Request) -> AsyncIterator[httpx2.Response]:
        """Send a request once and give its answer, whose body is to be read within the context.

        What is left unread closes the connection, and so does an exception of any kind.  Raises
        PoolTimeout when none came free, and what the transport raises; redirects are not
        followed.
        """
        await self._wait_for_turn()
        try:
            connection = await self._take()
            is_whole = False
            try:
                response = await connection.handle_async_request(request)
                try:
                    yield response
                finally:
                    await response.aclose()
                is_whole = True
            finally:
                self._busy.discard(connection)
                if is_whole and not self._is_closed:
                    self._idle.append((self._clock(), connection))
                else:
                    await connection.aclose()
        finally:
            if self._turns is not None:
                self._turns.release()

    async def aclose(self) -> None:
        """Close every connection, which ends what is under way; may be repeated."""
        self._is_closed = True
        connections = [connection for _, connection in self._idle] + list(self._busy)
        self._idle.clear()
        for connection in connections:
            await connection.aclose()

    async def _wait_for_turn(self) -> None:
        if self._turns is None:
            return
        try:
            async with asyncio.timeout(self._patience_seconds if self._turns.locked() else None):
                await self._turns.acquire()
        except TimeoutError as error:
            raise httpx2.PoolTimeout("No connection came free.") from error

    async def _take(self) -> httpx2.AsyncBaseTransport:
        expired_at = self._clock() - self._keep_alive_seconds
        while self._idle and self._idle[0][0] < expired_at:
            await self._idle.popleft()[1].aclose()
        connection = self._idle.pop()[1] if self._idle else self._build()
        self._busy.add(connection)
        return connection
