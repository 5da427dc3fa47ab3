"""How long a claimed row is ours, and how it stays ours while it is worked on."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gpukeeper.engine.loop import Workers
from gpukeeper.store import leases
from gpukeeper.store.database import Database, Table
from gpukeeper.store.leases import Lease

# Longer than any pause of a healthy worker between two renewals; short enough that the work of
# a dead one is taken over within 30 s.
LEASE = timedelta(seconds=20)
_RENEW_EVERY = timedelta(seconds=5)


@dataclass(slots=True)
class Leasing:
    """Leases the rows of one table for the tasks of one loop."""

    database: Database
    table: Table
    workers: Workers
    renewed_at: datetime | None = None

    def lease(self, token: str, now: datetime) -> Lease:
        """Return a new lease that begins now."""
        return Lease(token, now + LEASE)

    async def renew(self, now: datetime) -> None:
        """Extend the leases under way; call it at every turn, it writes only when it is time."""
        held = self.workers.held
        # A clock that was set back must not keep us from renewing until it has caught up.
        if self.renewed_at is not None and self.renewed_at <= now < self.renewed_at + _RENEW_EVERY:
            return
        self.renewed_at = now
        if held:
            await self.database.write(
                lambda connection: leases.renew(connection, self.table, held, now + LEASE)
            )
