"""How long a claimed row is ours, and how it stays ours while it is worked on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gpukeeper.domain.errors import LeaseLost, StoreUnavailable
from gpukeeper.engine.loop import Workers
from gpukeeper.store import leases
from gpukeeper.store.db.database import Database, StoreError, Table
from gpukeeper.store.db.outages import database_message
from gpukeeper.store.leases import Lease
from gpukeeper.telemetry import Logger

# Longer than any pause of a healthy worker between two renewals; short enough that the work of
# a dead one is taken over within 30 s.
LEASE_DURATION = timedelta(seconds=20)
_RENEW_EVERY = timedelta(seconds=5)


def new_lease(token: str, now: datetime) -> Lease:
    """Return a lease that begins now, for rows that are about to be stored with it."""
    return Lease(token, now + LEASE_DURATION)


@asynccontextmanager
async def keep_renewed(renew: Callable[[], Awaitable[None]], log: Logger) -> AsyncIterator[None]:
    """Renew a lease again and again for as long as the block lasts, or until it is lost."""
    task = asyncio.create_task(_keep(renew, log))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _keep(renew: Callable[[], Awaitable[None]], log: Logger) -> None:
    while True:
        await asyncio.sleep(_RENEW_EVERY.total_seconds())
        try:
            await renew()
        except LeaseLost:
            # Whoever works under it finds out when storing the result.
            return
        except (StoreUnavailable, StoreError) as error:
            # The next try may still come in time.
            log.warning("lease_not_renewed", error=database_message(error))


def _always() -> bool:
    """Be sure."""
    return True


@dataclass(slots=True)
class HeldLeases:
    """Leases the rows of one table for the tasks of one loop.

    ``until`` is when each lease ends, by its token; ``lost`` holds the rows that are not under it
    any more, each with that token.
    """

    database: Database
    table: Table
    workers: Workers
    renewed_at: datetime | None = None
    until: dict[str, datetime] = field(default_factory=dict)
    lost: set[tuple[str, str]] = field(default_factory=set)
    # Where several processes share a database, and the time is in doubt, so are their leases.
    is_time_sure: Callable[[], bool] = _always

    def hold(self, lease: Lease) -> None:
        """Know of a lease that the store has given; its tasks start before the next renewal."""
        self.until[lease.token] = lease.until

    def check(self, row_id: str, token: str, now: datetime) -> None:
        """Raise LeaseLost when a row is not ours any more, or somebody else may be at work by now.

        Asked without the store, at the last moment before something is done that the store cannot
        undo: a process may have been paused for any time since it took the lease.
        """
        is_over = now >= self.until.get(token, now) or (row_id, token) in self.lost
        if is_over or not self.is_time_sure():
            raise LeaseLost

    async def renew(self, now: datetime) -> None:
        """Extend the leases under way; call it at every turn, it writes only when it is time.

        One that has ended stays so, even if nobody has taken its row yet.  Only what the store has
        extended lasts longer: others go by the store.
        """
        # A clock that was set back must not keep us from renewing until it has caught up.
        if self.renewed_at is not None and self.renewed_at <= now < self.renewed_at + _RENEW_EVERY:
            return
        alive = {token for token, until in self.until.items() if now < until}
        held = {row: token for row, token in self.workers.held.items() if token in alive}
        renewed: set[str] = set()
        if held:
            renewed = await self.database.write(
                lambda connection: leases.renew(connection, self.table, held, now + LEASE_DURATION)
            )
        extended = {held[row] for row in renewed}
        # Others may have been given meanwhile; those that nobody works under are forgotten.
        under_way = set(self.workers.held.values())
        self.until = {
            token: now + LEASE_DURATION if token in extended else until
            for token, until in self.until.items()
            if token in under_way
        }
        # Among them are rows that were given back by workers who are about to end.
        self.lost |= {(row, token) for row, token in held.items() if row not in renewed}
        self.lost = {(row, token) for row, token in self.lost if token in self.until}
        self.renewed_at = now
