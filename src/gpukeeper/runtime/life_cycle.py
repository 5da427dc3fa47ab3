"""A built service: it runs its loops, and drains them when it is told to end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from gpukeeper.domain.errors import NovitaError
from gpukeeper.domain.wakeups import LoopName
from gpukeeper.engine.loop import Loop
from gpukeeper.novita.client import NovitaClient
from gpukeeper.runtime.loops import Engine
from gpukeeper.runtime.store_account import AccountProof
from gpukeeper.runtime.trusted_clock import TrustedClock, settle_forever, settle_once
from gpukeeper.service import Service
from gpukeeper.store.db.database import Database
from gpukeeper.telemetry import Metrics, tracing
from gpukeeper.webhooks.sender import Sender

if TYPE_CHECKING:
    from gpukeeper.store.db.notify_listener import Listener

# A drain takes at most ten seconds (contract §6), of which the server has had two.
_LAST_TURN = timedelta(seconds=2)
_LAST_WORK = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Runtime:
    """A built service: what answers requests, and the loops beside it.

    ``follow`` is the loop that reads the events for those who follow them.
    """

    service: Service
    metrics: Metrics
    database: Database
    novita: NovitaClient
    sender: Sender
    engine: Engine | None
    follow: Loop
    listener: "Listener | None"
    clock: TrustedClock
    # What has to be proven before Novita is asked for anything.
    proof: AccountProof | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the loops; on leaving, take no more work, finish what is held, close everything.

        Raises InvalidConfiguration when the store turns out to be another account's.
        """
        async with AsyncExitStack() as on_failure:
            on_failure.push_async_callback(self._close)
            if self.proof is not None:
                await self.proof.settle()
            on_failure.pop_all()
        loops = [self.follow, *(self.engine.loops if self.engine else ())]
        tasks = [asyncio.create_task(loop.run(), name=loop.name) for loop in loops]
        beside = [asyncio.create_task(self.service.market.get_ready(), name="get-ready")]
        if self.listener is not None:
            beside.append(asyncio.create_task(self.listener.run(), name=LoopName.LISTEN))
        beside.append(
            asyncio.create_task(settle_forever(self.clock, self._ask_time), name="settle-clock")
        )
        try:
            await settle_once(self.clock, self._ask_time)
            yield
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)
            for loop in loops:
                loop.drain()
            await self._drain(tasks)
            await self._close()

    async def _close(self) -> None:
        await self.sender.aclose()
        await self.novita.aclose()
        await asyncio.to_thread(self.database.close)
        await asyncio.to_thread(tracing.stop_export)

    async def _ask_time(self) -> None:
        """Ask Novita anything: each of its answers says what time it is."""
        with suppress(NovitaError):
            await self.novita.clusters()

    async def _drain(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        """Let the loops end, then the work that they started.

        What takes too long is cancelled, and found again in the store as after a crash.
        """
        _, late = await asyncio.wait(tasks, timeout=_LAST_TURN.total_seconds())
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        workers = self.engine.workers if self.engine else ()
        await asyncio.gather(*(each.drain(_LAST_WORK) for each in workers))
