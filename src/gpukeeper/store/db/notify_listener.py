"""Hears what the transactions of other processes tell, on a connection of its own."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import psycopg

from gpukeeper.domain.wakeups import LoopName
from gpukeeper.store.db import notify, outages, postgres
from gpukeeper.store.db.shared_clock import SharedClock

# How often the connection is tried and the time asked for.
_HEARTBEAT_SECONDS = 5.0
# A server that does not answer for so long is gone.
_PATIENCE_SECONDS = 10.0
# After a connection was lost.
_REST_SECONDS = 1.0
# Whether the server has come to take no changes, and its time.
_STATE = "SELECT current_setting('transaction_read_only') = 'on', clock_timestamp()"

OnNotify = Callable[[Iterable[LoopName], str | None], None]


class Listener:
    """Listens for as long as it runs, and connects again whenever the connection is lost.

    ``on_signal`` gets what was told; ``on_missed`` is called whenever something may have been
    told that was not heard; ``on_lost`` gets what went wrong with a connection, in the words of
    the server, and ``on_back`` is called when there is one again.
    """

    def __init__(
        self,
        url: str,
        *,
        origin: str,
        clock: SharedClock,
        on_signal: OnNotify,
        on_missed: Callable[[], None],
        on_lost: Callable[[str], None],
        on_back: Callable[[], None],
    ) -> None:
        self._url = url
        self._origin = origin
        self.clock = clock
        self._on_signal = on_signal
        self._on_missed = on_missed
        self._on_lost = on_lost
        self._on_back = on_back
        self._is_lost = False
        self.is_running = False
        self.beat_at: datetime | None = None

    async def run(self) -> None:
        """Listen until cancelled."""
        self.is_running = True
        try:
            while True:
                try:
                    await self._listen()
                except (psycopg.Error, OSError) as error:
                    # TimeoutError is an OSError.
                    self._on_lost(outages.database_message(error) or type(error).__name__)
                    self._is_lost = True
                await asyncio.sleep(_REST_SECONDS)
        finally:
            self.is_running = False

    async def _listen(self) -> None:
        url, parameters = postgres.connection_arguments(self._url, "gpukeeper listening")
        async with asyncio.timeout(_PATIENCE_SECONDS):
            connection = await psycopg.AsyncConnection.connect(url, autocommit=True, **parameters)
        async with connection:
            greeted = await self._ask(connection, postgres.GREETING, postgres.LIMITS)
            postgres.check_writable(await greeted.fetchone())
            await self._ask(connection, f"LISTEN {notify.CHANNEL}")
            if self._is_lost:
                self._is_lost = False
                self._on_back()
            self._on_missed()
            while True:
                await self._keep_time(connection)
                self.beat_at = self.clock()
                async for heard in connection.notifies(timeout=_HEARTBEAT_SECONDS):
                    self._hear(heard.payload)

    async def _keep_time(self, connection: psycopg.AsyncConnection[Any]) -> None:
        asked = self.clock.ask()
        cursor = await self._ask(connection, _STATE)
        # A server that takes no changes any more hears of none.
        _, at = postgres.check_writable(await cursor.fetchone())
        self.clock.set(at.astimezone(UTC), asked=asked)

    async def _ask(
        self, connection: psycopg.AsyncConnection[Any], statement: Any, *given: Any
    ) -> Any:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await connection.execute(statement, *given)

    def _hear(self, payload: str) -> None:
        try:
            signal = notify.parse_payload(payload)
        except ValueError as error:
            self._on_lost(f"not understood: {error}")
            return
        if signal.origin != self._origin:
            self._on_signal(signal.loops, signal.instance_id)
