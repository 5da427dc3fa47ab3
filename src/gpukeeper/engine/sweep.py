"""One look at the whole fleet: one listing, compared with the store; only what changed is written.

Calls to Novita grow with pages of the fleet, not with instances.  A listing that is not complete
shows what is there and never what is gone; one that lacks most of the fleet shows nothing.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gpukeeper.domain.errors import LeaseLost, NovitaError, NovitaUnavailable
from gpukeeper.domain.events import Change
from gpukeeper.domain.instances import Instance, Status
from gpukeeper.domain.lifecycle import clock_rollback, duplicates, observations, purchases
from gpukeeper.domain.lifecycle.decide import schedule
from gpukeeper.domain.lifecycle.transitions import IN_TRANSIT, Limits
from gpukeeper.domain.machines import Listing, Observation, Phase
from gpukeeper.domain.orphans import orphans_among
from gpukeeper.domain.wakeups import LoopName
from gpukeeper.engine.leases import LEASE_DURATION, keep_renewed
from gpukeeper.engine.loop import Clock
from gpukeeper.engine.orphans import find_owners, is_older, log_orphans
from gpukeeper.engine.simulator_restart import is_new_world
from gpukeeper.novita.client import NovitaClient
from gpukeeper.nudges import Nudges
from gpukeeper.store import deliveries, facts, instances, leases, orphans, tables
from gpukeeper.store.db.database import Connection, Database
from gpukeeper.store.facts import Singleton
from gpukeeper.store.instances import SweepRow
from gpukeeper.store.leases import Lease
from gpukeeper.store.outbox import Outbox
from gpukeeper.telemetry import Logger, tracing

# Rows written in one transaction: few at first, to be announced at once, then more, at less cost.
_FIRST_GROUP = 25
_LARGEST_GROUP = 100
# An absence of this many machines at once is an incident at Novita, not their end, when it is
# also more than half of the fleet (contract §6.3).
_VANISHED_AT_LEAST = 3
# An incident at Novita that hides machines is over by then: whoever is still missing is gone.
_LONGEST_INCIDENT = timedelta(hours=1)
# A Retry-After beyond this is taken for a mistake, so that one answer cannot blind us for days.
_LONGEST_PAUSE = timedelta(minutes=15)
# Of these, one that has never been listed is late, not gone.
_NOT_EXPECTED = frozenset({Status.DELETING, Status.CREATING})

Fold = Callable[[Instance], Instance]


@dataclass(frozen=True, slots=True)
class Intervals:
    """How often Novita is looked at; a ``settled`` of zero means not at all."""

    moving: timedelta = timedelta(seconds=30)
    settled: timedelta = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Sweep:
    """Looks at Novita whenever it is time.

    A look may take long; ``on_progress`` is called whenever it gets on.
    """

    database: Database
    novita: NovitaClient
    outbox: Outbox
    limits: Limits
    intervals: Intervals
    deployment: str
    clock: Clock
    nudges: Nudges
    on_change: Callable[[Change], None]
    on_look: Callable[[facts.SweepState, int, timedelta], None]
    new_token: Callable[[], str]
    on_progress: Callable[[], None]
    log: Logger

    async def turn(self) -> datetime | None:
        """Look if it is time, and return when it is time next.

        Of several processes on one database one looks; the others find that it has.
        """
        next_at = await self.database.read(self._next_look_at)
        if next_at is None or next_at > self.clock():
            return next_at
        token = self.new_token()
        next_at = await self.database.write(lambda connection: self._begin(connection, token))
        if next_at is None:
            await self._look(token)
            next_at = await self.database.read(self._next_look_at)
        return next_at

    async def look(self) -> facts.SweepState:
        """Look once, whatever the time, and return how looking goes; never raises NovitaError."""
        token = self.new_token()
        lease = self._lease(token)
        await self.database.write(lambda c: facts.take(c, Singleton.LOOK, self.clock(), lease))
        return await self._look(token)

    def _begin(self, connection: Connection, token: str) -> datetime | None:
        """Take the right to look; return when to come again if it is not ours now."""
        taken_until = facts.take(connection, Singleton.LOOK, self.clock(), self._lease(token))
        if taken_until is not None:
            return taken_until
        # Another process may have looked since we found that it is time.
        next_at = self._next_look_at(connection)
        if next_at is not None and next_at <= self.clock():
            return None
        facts.release(connection, Singleton.LOOK)
        return next_at or self.clock() + LEASE_DURATION

    def _lease(self, token: str) -> Lease:
        return Lease(token, self.clock() + LEASE_DURATION)

    async def _look(self, token: str) -> facts.SweepState:
        async with keep_renewed(self._renew(token), self.log):
            try:
                with tracing.start_span(LoopName.SWEEP):
                    return await self._look_held(token)
            except LeaseLost:
                # It took too long, and another process looks: what we saw is older.
                self.log.info("lease_lost", loop=LoopName.SWEEP.value)
                return await self.database.read(facts.find_state)

    def _renew(self, token: str) -> Callable[[], Awaitable[None]]:
        async def renew() -> None:
            lease = self._lease(token)
            await self.database.write(
                lambda connection: facts.renew(connection, Singleton.LOOK, lease)
            )

        return renew

    async def _look_held(self, token: str) -> facts.SweepState:
        started_at = self.clock()
        looks = await self.database.read(facts.find_state)
        # A clock that goes back by less than what passed since only delays what is due by as much.
        if looks.tried_at is not None and looks.tried_at > started_at + facts.SKEW:
            await self._put_right(looks.tried_at - started_at, token)
        calls = 0
        # Read before Novita is asked: whatever says nothing new is dropped while it is listed.
        rows = await self.database.read(_watched_by_machine)
        try:
            listing = await self.novita.list_all(
                is_wanted=lambda seen: _is_news(seen, rows), on_progress=self.on_progress
            )
        except NovitaError as error:
            self.log.warning(
                "look_failed", code=error.error_code, reason=error.reason, error=error.message
            )
            wait = error.retry_after if isinstance(error, NovitaUnavailable) else None
            wait = min(wait, _LONGEST_PAUSE) if wait else None
            now = self.clock()
            looks = replace(
                looks, tried_at=now, error=error.message, not_before=now + wait if wait else None
            )
        else:
            calls = listing.calls
            looks = await self._take_in(listing, rows, looks, token)

        def end(connection: Connection) -> bool:
            facts.check(connection, Singleton.LOOK, token)
            facts.store_state(connection, looks)
            facts.release(connection, Singleton.LOOK)
            facts.record_first_world(connection, self.novita.simulated_world)
            is_complete = looks.error is None and not looks.vanished
            return is_complete and facts.record_complete_sweep(connection)

        if await self.database.write(end):
            self.log.info("restored_store_takes_orders")
            self.nudges.wake(LoopName.PURCHASE)
        self.on_look(looks, calls, self.clock() - started_at)
        return looks

    def _next_look_at(self, connection: Connection) -> datetime | None:
        counts, looks = instances.count_by_status(connection), facts.find_state(connection)
        now = self.clock()
        # A clock that was set back must not silence us until it has caught up.
        if looks.tried_at is not None and looks.tried_at > now:
            return now
        is_moving = any(counts.get(status) for status in IN_TRANSIT)
        is_moving = is_moving or facts.count_sweeps_to_go(connection) > 0
        interval = self.intervals.moving if is_moving else self.intervals.settled
        if not interval:
            return None
        if looks.tried_at is None:
            return now
        next_at = looks.tried_at + interval
        if looks.not_before is None or looks.not_before > now + _LONGEST_PAUSE:
            return next_at
        return max(next_at, looks.not_before)

    async def _put_right(self, ahead: timedelta, token: str) -> None:
        """Undo what a clock that was ahead has left in the store, and in that alone."""
        self.log.warning("clock_set_back", seconds=ahead.total_seconds())
        now = self.clock()

        def put_right(connection: Connection) -> list[str]:
            deliveries.make_due(connection, now)
            for table in (tables.instances, tables.deliveries):
                leases.shorten(connection, table, now + LEASE_DURATION)
            return instances.list_unsettled_ids(connection)

        rows = await self.database.write(put_right)
        await self._apply(dict.fromkeys(rows, self._righted), token)
        for loop in (LoopName.PURCHASE, LoopName.RECONCILE, LoopName.DELIVER):
            self.nudges.wake(loop)

    def _righted(self, row: Instance) -> Instance:
        return clock_rollback.correct_times(row, self.clock(), self.limits)

    async def _take_in(
        self, listing: Listing, rows: Mapping[str, SweepRow], looks: facts.SweepState, token: str
    ) -> facts.SweepState:
        unwatched = [each for each in listing.machines if each.novita_id not in rows]
        folds = dict(self._changed(listing.machines, rows))
        folds |= await self._back(unwatched)
        missing = _missing_from(listing, rows)
        if missing:
            # An owner may have had machines deleted while Novita was being asked.
            now = await self.database.read(_watched_by_machine)
            rows = {novita_id: row for novita_id, row in now.items() if novita_id in rows}
            missing = _missing_from(listing, rows)
        # A listing with holes in it ends no alarm, unless it shows whom the alarm is about.
        vanished = min(looks.vanished, len(missing))
        if listing.is_complete:
            is_new = await is_new_world(self.database, self.novita, self.log, missing)
            believed = missing if is_new else self._believed(rows.values(), missing, looks)
            vanished = len(missing) - len(believed)
            # What is listed as removed is seen, unless it is part of what is not believed.
            doubted = {row.id for row in missing} - {row.id for row in believed}
            folds = {row_id: fold for row_id, fold in folds.items() if row_id not in doubted}
            folds = {row.id: self._miss for row in believed} | folds
        await self._apply(folds, token)
        if listing.is_complete and not vanished:
            await self._see_orphans(unwatched, listing.at, token)
        # An alarm ends with the first complete listing that is believed and lacks nobody.
        is_doubted = bool(missing) if looks.vanished_since else bool(vanished)
        return facts.SweepState(
            seen_at=listing.at if listing.is_complete and not vanished else looks.seen_at,
            tried_at=self.clock(),
            error=None if listing.is_complete else "Novita's listing was incomplete.",
            vanished=vanished,
            vanished_since=(looks.vanished_since or listing.at) if is_doubted else None,
        )

    def _changed(
        self, machines: Sequence[Observation], rows: Mapping[str, SweepRow]
    ) -> Iterator[tuple[str, Fold]]:
        for seen in machines:
            row = rows.get(seen.novita_id)
            if row is None:
                continue
            if seen.phase is Phase.UNKNOWN:
                self.log.warning("unknown_status", instance_id=row.id, novita_status=seen.word)
            yield row.id, self._observe(seen)

    async def _back(self, unwatched: Sequence[Observation]) -> dict[str, Fold]:
        """Return folds for machines that were thought gone and that Novita shows after all."""
        by_id = {
            machine.novita_id: machine
            for machine in unwatched
            if machine.phase not in (Phase.GOING, Phase.GONE)
        }
        if not by_id:
            return {}
        ended = await self.database.read(lambda c: instances.find_gone(c, list(by_id)))
        return {row_id: self._reappear(by_id[novita_id]) for row_id, novita_id in ended.items()}

    def _reappear(self, seen: Observation) -> Fold:
        return lambda row: observations.record_reappearance(row, seen, self.clock(), self.limits)

    def _discard(self, novita_ids: Sequence[str], at: datetime) -> Fold:
        return lambda row: duplicates.record_duplicates(row, novita_ids, at, self.limits)

    def _recognize(self, seen: Observation) -> Fold:
        return lambda row: purchases.record_found_machine(row, seen, self.clock(), self.limits)

    def _observe(self, seen: Observation) -> Fold:
        return lambda row: observations.observe(row, seen, self.clock(), self.limits)

    def _miss(self, row: Instance) -> Instance:
        return observations.record_missing(row, self.clock(), self.limits)

    def _believed(
        self, rows: Iterable[SweepRow], missing: Sequence[SweepRow], looks: facts.SweepState
    ) -> list[SweepRow]:
        """Return the absences to look into; none of the living if too many vanished at once.

        What lasts longer than any incident is looked into after all, machine by machine.
        """
        lasts_since = looks.vanished_since
        if lasts_since is not None and self.clock() >= lasts_since + _LONGEST_INCIDENT:
            return list(missing)
        living = [row for row in rows if row.status not in _NOT_EXPECTED]
        lost = [row for row in missing if row.status not in _NOT_EXPECTED]
        if len(lost) >= _VANISHED_AT_LEAST and 2 * len(lost) > len(living):
            self.log.error(
                "fleet_vanished",
                missing=len(lost),
                fleet=len(living),
                consequence="nothing is concluded from this listing",
            )
            return [row for row in missing if row.status in _NOT_EXPECTED]
        return list(missing)

    async def _apply(self, folds: Mapping[str, Fold], token: str) -> None:
        """Write the rows that differ, in groups."""
        work, start, size = list(folds.items()), 0, _FIRST_GROUP
        while start < len(work):
            group = dict(work[start : start + size])
            start, size = start + size, min(2 * size, _LARGEST_GROUP)
            self.on_progress()
            self._tell(await self.database.write(self._unit(group, token)))

    def _tell(self, changes: Sequence[Change]) -> None:
        self.nudges.changed(changes)
        for change in changes:
            self.on_change(change)

    def _unit(self, group: Mapping[str, Fold], token: str) -> Callable[[Connection], list[Change]]:
        now = self.clock()
        look = tracing.current_traceparent()

        def scheduled(fold: Fold) -> Fold:
            return lambda row: schedule(fold(row), now, self.limits)

        def change_all(connection: Connection) -> list[Change]:
            facts.check(connection, Singleton.LOOK, token)
            return instances.change_all(
                connection,
                {row_id: scheduled(fold) for row_id, fold in group.items()},
                now,
                self.outbox,
                origin=lambda change: self._origin(change, look),
            )

        return change_all

    def _origin(self, change: Change, look: str | None) -> str | None:
        """Return the place of what was seen in the trace of its instance: a look serves many."""
        wish = change.after.traceparent
        seen = tracing.record_span(
            "see",
            parent=wish,
            link=look,
            attributes={
                "gpukeeper.instance.id": change.after.id,
                "gpukeeper.instance.status": change.after.status.value,
            },
        )
        return seen or wish

    async def _see_orphans(
        self, unwatched: Sequence[Observation], at: datetime, token: str
    ) -> None:
        """Find whose the machines are that may be ours and that no row watches."""
        known, born_at, to_go = await self.database.read(
            lambda c: (orphans.list_all(c), facts.find_birth(c), facts.count_sweeps_to_go(c))
        )
        # The purchase of a younger one may be under way, but for that of a store that buys nothing.
        age = timedelta(0) if to_go else self.limits.adoption_window
        ours = [
            machine
            for machine in orphans_among(unwatched, self.deployment, born_at)
            if is_older(machine, at, age)
        ]
        if not ours and not known:
            return

        def see(connection: Connection) -> tuple[list[Change], list[Observation]]:
            facts.check(connection, Singleton.LOOK, token)
            owners = find_owners(connection, ours)
            found = orphans.record_listing(connection, owners.nobodys, at)
            folds = {row: self._discard(spare, at) for row, spare in owners.spare.items()}
            folds |= {row: self._recognize(seen) for row, seen in owners.awaited.items()}
            return self._unit(folds, token)(connection), found

        changes, found = await self.database.write(see)
        self._tell(changes)
        log_orphans(self.log, found, self.deployment)


def _watched_by_machine(connection: Connection) -> dict[str, SweepRow]:
    return {row.novita_id: row for row in instances.list_sweep_rows(connection)}


def _is_news(seen: Observation, rows: Mapping[str, SweepRow]) -> bool:
    """Whether a machine says something else than before, or no row watches it."""
    row = rows.get(seen.novita_id)
    return row is None or observations.fingerprint(seen) != row.seen_fingerprint


def _missing_from(listing: Listing, rows: Mapping[str, SweepRow]) -> list[SweepRow]:
    """Return the rows whose machines the listing leaves out, or shows as removed."""
    removed = {seen.novita_id for seen in listing.machines if seen.phase is Phase.GONE}
    return [
        row for row in rows.values() if row.novita_id not in listing.ids or row.novita_id in removed
    ]
