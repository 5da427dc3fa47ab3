"""The live feed: one reader per process follows the event table for everyone who listens.

The latest events are kept in memory, once for all.  A follower is nothing but a place among them;
one that has fallen behind what is kept reads the store by itself until it has caught up.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import takewhile

from gpukeeper.contract.events import describe_event
from gpukeeper.contract.serialization import to_json
from gpukeeper.domain.errors import Fault, InvalidOrder
from gpukeeper.domain.events import Event
from gpukeeper.domain.wakeups import LoopName
from gpukeeper.nudges import Nudges
from gpukeeper.store import events
from gpukeeper.store.db.database import Connection, Database

# What a follower may fall behind before it costs a read of its own; some 2 kB each.
KEPT_EVENTS = 1000
# Events that one read takes; bounds how long it keeps a thread of the store.
_BATCH = 200

# No event has a number of more digits.
_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """An event as it is told: ``body`` is its JSON, encoded once for all who follow."""

    number: int
    type: str
    instance_id: str | None
    body: bytes


class Feed:
    """The events of the store, as they come; :meth:`turn` is the turn of a loop."""

    def __init__(self, database: Database, nudges: Nudges) -> None:
        self.nudges = nudges
        self._database = database
        self._followers = 0
        self._moved = asyncio.Event()
        # All events after `_begins_at`, up to `_read_to`, are in `_recent`.
        self._recent: deque[FeedEvent] = deque()
        self._begins_at = 0
        self._read_to: int | None = None

    async def position(self, last_event_id: str | None) -> int:
        """Return after which event a follower begins: the one that it names, or the newest.

        Raises InvalidOrder for what is no event of this store, and for an event after which some
        are not kept any more.
        """
        removed_to, newest = await self._database.read(events.find_bounds)
        if last_event_id is None:
            return newest
        is_number = last_event_id.isascii() and last_event_id.isdecimal()
        if not is_number or len(last_event_id) > _MAX_DIGITS or int(last_event_id) > newest:
            raise _refused("is not an id that this service has given")
        if int(last_event_id) < removed_to:
            raise _refused(
                "is older than what is kept: list the instances, and begin without an id"
            )
        return int(last_event_id)

    @contextmanager
    def following(self, position: int) -> Iterator["Follower"]:
        """Give a follower that is told of the events after this one."""
        self._followers += 1
        self.nudges.wake(LoopName.EVENTS)
        try:
            yield Follower(self, position)
        finally:
            self._followers -= 1

    async def turn(self) -> None:
        """Read what was stored since the last turn, and wake those who follow.

        Nothing is read while nobody follows.  When the process drains, followers are woken too.
        """
        if self.nudges.is_draining:
            self._wake()
        elif not self._followers:
            self._read_to = None
            self._recent.clear()
        elif self._read_to is None:
            _, newest = await self._database.read(events.find_bounds)
            self._read_to = self._begins_at = newest
            # Those who came before this began may have missed something.
            self._wake()
        else:
            await self._read_on(self._read_to)

    async def told_after(self, position: int) -> tuple[FeedEvent, ...]:
        """Return the next events after this one; from memory where they are kept there."""
        if self._read_to is None or position < self._begins_at:
            return await self._read(position)
        new = takewhile(lambda told: told.number > position, reversed(self._recent))
        return tuple(new)[::-1]

    async def moved(self, position: int) -> tuple[FeedEvent, ...]:
        """Return the next events after this one as soon as there are any, or the process drains."""
        while True:
            moved = self._moved
            found = await self.told_after(position)
            if found or self.nudges.is_draining:
                return found
            await moved.wait()

    async def _read_on(self, read_to: int) -> None:
        while batch := await self._read(read_to):
            read_to = batch[-1].number
            self._read_to = read_to
            self._recent.extend(batch)
            while len(self._recent) > KEPT_EVENTS:
                self._begins_at = self._recent.popleft().number
            self._wake()
            if len(batch) < _BATCH:
                return

    async def _read(self, position: int) -> tuple[FeedEvent, ...]:
        def read(connection: Connection) -> tuple[FeedEvent, ...]:
            return tuple(map(_told, events.list_since(connection, position, _BATCH)))

        return await self._database.read(read)

    def _wake(self) -> None:
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


class Follower:
    """One who is told of every event after ``position``, in order, each once."""

    def __init__(self, feed: Feed, position: int) -> None:
        self.position = position
        self._feed = feed

    @property
    def is_over(self) -> bool:
        """Whether the process ends, and with it what it tells."""
        return self._feed.nudges.is_draining

    async def next(self, patience: timedelta) -> tuple[FeedEvent, ...]:
        """Return the next events; none when none came for so long, or the process drains."""
        try:
            async with asyncio.timeout(patience.total_seconds()):
                found = await self._feed.moved(self.position)
        except TimeoutError:
            return ()
        if found:
            self.position = found[-1].number
        return found


def _told(event: Event) -> FeedEvent:
    body = to_json(describe_event(event))
    return FeedEvent(event.number, event.type.value, event.instance_id, body)


def _refused(message: str) -> InvalidOrder:
    return InvalidOrder(faults=[Fault("Last-Event-ID", message)])
