"""Removes what has been kept for long enough, a little at a time, so that nobody waits for it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from gpukeeper.engine.leases import LEASE_DURATION
from gpukeeper.engine.loop import Clock
from gpukeeper.store import facts, retention
from gpukeeper.store.db.database import Connection, Database
from gpukeeper.store.facts import Singleton
from gpukeeper.store.leases import Lease
from gpukeeper.store.retention import OldRows
from gpukeeper.telemetry import Logger

# Rows of one transaction: a few milliseconds of the one thread that writes to SQLite.
_ROWS = 100
# Between two of them orders and deliveries have the store to themselves.
_REST = timedelta(seconds=0.5)
# What is kept for days may stay for an hour more.
_ROUND_EVERY = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one table is walked."""

    old: Callable[[Connection, datetime, str, int], OldRows]
    remove: Callable[[Connection, Sequence[int], datetime], Counter[str]]


# Deliveries go before the events that they tell of.
_KINDS = (
    _Kind(retention.old_deliveries, retention.remove_deliveries),
    _Kind(retention.old_events, retention.remove_events),
)


@dataclass(slots=True)
class _Round:
    """One walk over everything that is old: where it is, and what it has removed."""

    began_at: datetime
    before: datetime
    token: str
    kinds: tuple[_Kind, ...] = _KINDS
    after: str = ""
    removed: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Retention:
    """Removes what is older than ``keep``; of several processes one does at a time."""

    database: Database
    keep: timedelta
    clock: Clock
    new_token: Callable[[], str]
    on_removed: Callable[[Mapping[str, int]], None]
    log: Logger
    _round: _Round | None = None
    _began_at: datetime | None = None

    async def turn(self) -> datetime:
        """Remove one portion if it is time, and return when the next one may go."""
        now = self.clock()
        if self._round is None:
            # A clock that was set back must not keep us from it until it has caught up.
            if self._began_at is not None and self._began_at <= now < self._began_at + _ROUND_EVERY:
                return self._began_at + _ROUND_EVERY
            self._began_at = now
            self._round = _Round(now, now - self.keep, self.new_token())
        return await self._go_on(self._round)

    async def _go_on(self, walk: _Round) -> datetime:
        kind = walk.kinds[0]
        portion = await self.database.read(
            lambda connection: kind.old(connection, walk.before, walk.after, _ROWS)
        )
        if portion.numbers:
            taken_until = await self._remove(walk, kind, portion.numbers)
            if taken_until is not None:
                # Another process is at it; whatever it leaves is found by a round of ours.
                self._round = self._began_at = None
                return taken_until
        walk.after = portion.last_id or ""
        if portion.last_id is None:
            walk.kinds = walk.kinds[1:]
        if walk.kinds:
            return self.clock() + _REST
        self._round = None
        if walk.removed:
            self.log.info("old_rows_removed", before=walk.before.isoformat(), **walk.removed)
        return walk.began_at + _ROUND_EVERY

    async def _remove(self, walk: _Round, kind: _Kind, numbers: Sequence[int]) -> datetime | None:
        """Remove these rows; return until when another process does, if one does."""
        now = self.clock()
        lease = Lease(walk.token, now + LEASE_DURATION)

        def remove(connection: Connection) -> datetime | Counter[str]:
            taken_until = facts.take(connection, Singleton.REMOVE, now, lease)
            return taken_until or kind.remove(connection, numbers, walk.before)

        done = await self.database.write(remove)
        if isinstance(done, datetime):
            return done
        self.on_removed(done)
        walk.removed += done
        return None
