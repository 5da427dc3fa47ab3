"""The live feed: everyone who follows is told of every event once and in order."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from gpukeeper.domain.errors import InvalidOrder
from gpukeeper.domain.instances import Status
from gpukeeper.domain.wakeups import LoopName
from gpukeeper.nudges import Nudges
from gpukeeper.service import feed as feed_module
from gpukeeper.service.feed import Feed, Follower
from gpukeeper.store import retention
from gpukeeper.store.db.database import Connection, Database
from tests.store.rows import NOW, an_instance, an_outbox, became, stored

OUTBOX = an_outbox()
# Never waited for in full: what is followed comes at once, or the test hangs and fails.
PATIENCE = timedelta(seconds=60)
LONG = timedelta(days=1)
NO_TIME = timedelta(milliseconds=1)


@pytest.fixture
def nudges() -> Nudges:
    return Nudges()


@pytest.fixture
def feed(database: Database, nudges: Nudges) -> Feed:
    """Give a feed whose turns are made by hand."""
    return Feed(database, nudges)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the feed keep and read so few events that it is often left behind."""
    with monkeypatch.context() as patch:
        patch.setattr(feed_module, "KEPT_EVENTS", 5)
        patch.setattr(feed_module, "_BATCH", 3)
        yield


@asynccontextmanager
async def turning(feed: Feed) -> AsyncIterator[None]:
    """Turn the feed whenever it is nudged, as its loop does."""
    nudged = asyncio.Event()
    feed.nudges.connect(LoopName.EVENTS, nudged.set)

    async def turn() -> None:
        while True:
            await nudged.wait()
            nudged.clear()
            await feed.turn()

    task = asyncio.create_task(turn())
    yield
    task.cancel()
    await asyncio.wait((task,))


async def write(database: Database, count: int = 1) -> None:
    """Store so many events."""

    def record(connection: Connection) -> None:
        for _ in range(count):
            OUTBOX.record_test(connection, [], NOW)

    await database.write(record)


async def read_until(follower: Follower, last: int) -> list[int]:
    """Return the numbers of what a follower is told up to this one."""
    numbers: list[int] = []
    while follower.position < last:
        numbers += [told.number for told in await follower.next(PATIENCE)]
    return numbers


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", range(5))
async def test_followers_that_come_and_go_miss_nothing_and_hear_nothing_twice(
    feed: Feed, database: Database, nudges: Nudges, seed: int
) -> None:
    draw, last = random.Random(seed), 200

    async def write_all() -> None:
        left = last
        while left:
            count = min(left, draw.randint(1, 9))
            await write(database, count)
            nudges.wake(LoopName.EVENTS)
            left -= count
            for _ in range(draw.randint(0, 9)):
                await asyncio.sleep(0)

    async def follow() -> list[int]:
        heard, position = list[int](), 0
        while position < last:
            with feed.following(await feed.position(str(position))) as follower:
                for _ in range(draw.randint(1, 5)):
                    if position < last:
                        heard += [told.number for told in await follower.next(PATIENCE)]
                        position = follower.position
        return heard

    async with turning(feed):
        *followers, _ = await asyncio.gather(*(follow() for _ in range(8)), write_all())
    assert followers == [list(range(1, last + 1))] * 8


async def test_without_an_id_it_begins_at_now(feed: Feed, database: Database) -> None:
    await write(database, 3)
    async with turning(feed):
        with feed.following(await feed.position(None)) as follower:
            await write(database)
            feed.nudges.wake(LoopName.EVENTS)
            assert await read_until(follower, 4) == [4]


async def test_what_is_stored_before_the_first_turn_is_told(feed: Feed, database: Database) -> None:
    with feed.following(await feed.position(None)) as follower:
        waiting = asyncio.create_task(follower.next(PATIENCE))
        assert await follower.next(NO_TIME) == ()
        await write(database)
        await feed.turn()
        assert [told.number for told in await waiting] == [1]


async def test_an_event_is_told_as_histories_show_it(feed: Feed, database: Database) -> None:
    await stored(database, an_instance(1), outbox=OUTBOX)
    await became(database, "ins_000001", Status.CREATING, outbox=OUTBOX)
    with feed.following(0) as follower:
        requested, created = await follower.next(PATIENCE)
    body = json.loads(created.body)
    assert (requested.number, created.number) == (1, 2)
    assert (created.type, created.instance_id) == ("instance.created", "ins_000001")
    assert body.keys() == {"id", "type", "timestamp", "data"}
    assert body["id"].startswith("evt_")
    assert body["data"]["instance"]["status"] == "creating"


async def test_events_are_encoded_once_for_all_who_follow(feed: Feed, database: Database) -> None:
    async with turning(feed):
        with feed.following(0) as one, feed.following(0) as other:
            await feed.turn()
            await write(database)
            feed.nudges.wake(LoopName.EVENTS)
            (told,), (told_too,) = await one.next(PATIENCE), await other.next(PATIENCE)
    assert told is told_too


async def test_nothing_is_kept_while_nobody_follows(feed: Feed, database: Database) -> None:
    with feed.following(0):
        await feed.turn()
    await write(database, 2)
    await feed.turn()
    with feed.following(0) as follower:
        assert await read_until(follower, 2) == [1, 2]


async def test_silence_is_told_by_telling_nothing(feed: Feed) -> None:
    with feed.following(0) as follower:
        assert await follower.next(NO_TIME) == ()
        assert (follower.position, follower.is_over) == (0, False)


async def test_a_drain_ends_the_waiting_at_once(feed: Feed, nudges: Nudges) -> None:
    async with turning(feed):
        with feed.following(0) as follower:
            waiting = asyncio.create_task(follower.next(PATIENCE))
            await asyncio.sleep(0)
            nudges.drain()
            assert await waiting == ()
            assert follower.is_over


@pytest.mark.parametrize("given", ["3", "-1", "1.0", "evt_1", "٣", " 1", "9" * 30])
async def test_an_id_that_was_never_given_is_refused(
    feed: Feed, database: Database, given: str
) -> None:
    await write(database, 2)
    with pytest.raises(InvalidOrder) as refusal:
        await feed.position(given)
    (fault,) = refusal.value.faults
    assert (fault.field, fault.message) == (
        "Last-Event-ID",
        "is not an id that this service has given",
    )


async def test_an_id_after_which_events_are_not_kept_is_refused(
    feed: Feed, database: Database
) -> None:
    await write(database, 4)
    await database.write(lambda c: retention.remove_events(c, [1, 2], NOW + LONG))
    assert await feed.position("2") == 2
    with pytest.raises(InvalidOrder) as refusal:
        await feed.position("1")
    assert "older than what is kept" in refusal.value.faults[0].message


async def test_the_newest_event_is_followed_on_from_after_all_were_removed(
    feed: Feed, database: Database
) -> None:
    await write(database, 2)
    await database.write(lambda c: retention.remove_events(c, [1, 2], NOW + LONG))
    assert await feed.position("2") == await feed.position(None) == 2
    with feed.following(2) as follower:
        await write(database)
        assert await read_until(follower, 3) == [3]
