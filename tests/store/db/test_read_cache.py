"""What was read is kept while nobody commits, and no moment longer."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gpukeeper.domain.errors import NotFound
from gpukeeper.store import facts
from gpukeeper.store.db.database import Connection, Database
from gpukeeper.store.db.read_cache import ReadCache
from tests.store.rows import NOW

Unit = Callable[[Connection], int]


@pytest.fixture
def unit() -> Unit:
    """Return a unit that counts how often it was run."""
    runs = iter(range(1, 100))
    return lambda connection: next(runs)


def touched(connection: Connection) -> None:
    """Change something."""
    facts.touch(connection, NOW)


async def test_what_was_read_is_not_read_again_while_nothing_is_committed(
    sqlite_database: Database, unit: Unit
) -> None:
    assert [await sqlite_database.read_kept("key", unit) for _ in range(3)] == [1, 1, 1]
    assert await sqlite_database.read_kept("another", unit) == 2


async def test_whoever_has_written_reads_what_he_wrote(
    sqlite_database: Database, unit: Unit
) -> None:
    assert await sqlite_database.read_kept("key", unit) == 1
    await sqlite_database.write(touched)
    assert await sqlite_database.read_kept("key", unit) == 2


async def test_a_commit_of_another_process_is_seen(sqlite_database: Database, unit: Unit) -> None:
    assert await sqlite_database.read_kept("key", unit) == 1
    file = str(sqlite_database.engine.url.database)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO facts (key, body) VALUES ('theirs', '1')")
        await asyncio.sleep(0)
        # Not before it is committed.
        assert await sqlite_database.read_kept("key", unit) == 1
        other.execute("COMMIT")
        await asyncio.sleep(0)
        assert await sqlite_database.read_kept("key", unit) == 2


async def test_sqlite_is_asked_once_for_all_who_go_on_in_one_turn_of_the_event_loop(
    sqlite_database: Database, unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    current = ReadCache._current

    def counted(kept: ReadCache) -> int | None:
        nonlocal asked
        asked += 1
        return current(kept)

    monkeypatch.setattr(ReadCache, "_current", counted)
    await sqlite_database.read_kept("key", unit)
    await asyncio.sleep(0)
    asked = 0
    await asyncio.gather(*(sqlite_database.read_kept("key", unit) for _ in range(9)))
    assert asked == 1
    await asyncio.gather(*(sqlite_database.read_kept("key", unit) for _ in range(9)))
    assert asked == 2


async def test_who_is_woken_by_a_commit_finds_it_whoever_has_read_before(
    sqlite_database: Database, unit: Unit
) -> None:
    async def write_and_read() -> int:
        await sqlite_database.write(touched)
        return await sqlite_database.read_kept("key", unit)

    async def go_on_reading() -> None:
        while not writing.done():
            await sqlite_database.read_kept("key", unit)
            await asyncio.sleep(0)

    before = await sqlite_database.read_kept("key", unit)
    writing = asyncio.create_task(write_and_read())
    await go_on_reading()
    assert await writing == before + 1


async def test_what_has_changed_while_it_was_read_is_read_again(
    sqlite_database: Database, unit: Unit
) -> None:
    file = str(sqlite_database.engine.url.database)

    def overtaken(connection: Connection) -> int:
        with closing(sqlite3.connect(file)) as other, other:
            other.execute("INSERT INTO facts (key, body) VALUES ('theirs', '1')")
        return unit(connection)

    assert await sqlite_database.read_kept("key", overtaken) == 1
    assert await sqlite_database.read_kept("key", unit) == 2


async def test_those_who_ask_at_once_share_one_answer(
    sqlite_database: Database, unit: Unit
) -> None:
    asked = [sqlite_database.read_kept("key", unit) for _ in range(5)]
    assert await asyncio.gather(*asked) == [1] * 5


async def test_whoever_gives_up_takes_the_answer_from_nobody(
    sqlite_database: Database, unit: Unit
) -> None:
    first = asyncio.create_task(sqlite_database.read_kept("key", unit))
    second = asyncio.create_task(sqlite_database.read_kept("key", unit))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == 1
    assert first.cancelled()


async def test_a_failure_is_not_kept(sqlite_database: Database, unit: Unit) -> None:
    def failing(connection: Connection) -> int:
        raise NotFound

    with pytest.raises(NotFound):
        await sqlite_database.read_kept("key", failing)
    await asyncio.sleep(0)
    assert await sqlite_database.read_kept("key", unit) == 1


async def test_a_closed_database_gives_nothing_that_it_kept(
    sqlite_database: Database, unit: Unit
) -> None:
    await sqlite_database.read_kept("key", unit)
    sqlite_database.close()
    with pytest.raises(RuntimeError, match="closed"):
        await sqlite_database.read_kept("key", unit)


async def test_what_others_may_change_unseen_is_always_read(
    postgres_database: Database, unit: Unit
) -> None:
    assert [await postgres_database.read_kept("key", unit) for _ in range(2)] == [1, 2]


class Reads:
    """Reads that are counted by what was asked for."""

    def __init__(self, kept: ReadCache) -> None:
        self.kept = kept
        self.done: list[str] = []

    async def ask(self, key: str, *, size: int = 1) -> None:
        """Ask for something."""

        async def read() -> None:
            self.done.append(key)

        await self.kept.read(key, read, size=size)


@pytest.fixture
def reads(path: Path) -> Iterator[Reads]:
    """Give reads of a file, of which three rows are kept."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    with closing(ReadCache(path, capacity=3)) as kept:
        yield Reads(kept)


async def test_no_more_is_kept_than_there_is_room_for(reads: Reads) -> None:
    for key in ("a", "b", "c", "d", "d", "c", "b", "a"):
        await reads.ask(key)
    assert reads.done == ["a", "b", "c", "d", "a"]


async def test_a_long_answer_takes_the_room_of_several(reads: Reads) -> None:
    await reads.ask("a")
    await reads.ask("long", size=3)
    await reads.ask("long", size=3)
    await reads.ask("a")
    assert reads.done == ["a", "long", "a"]


async def test_an_answer_that_is_longer_than_all_room_is_not_kept(reads: Reads) -> None:
    await reads.ask("a")
    await reads.ask("long", size=4)
    await reads.ask("long", size=4)
    await reads.ask("a")
    assert reads.done == ["a", "long", "long"]


async def test_while_the_file_is_locked_nothing_is_kept_and_nobody_waits(
    reads: Reads, path: Path
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("CREATE TABLE theirs (number INTEGER)")
        await reads.ask("a")
        await reads.ask("a")
    assert reads.done == ["a", "a"]


def test_a_file_that_is_not_there_is_not_made(path: Path) -> None:
    with closing(ReadCache(path)) as kept:
        reads = Reads(kept)
        asyncio.run(reads.ask("a"))
        asyncio.run(reads.ask("a"))
    assert reads.done == ["a", "a"]
    assert not path.exists()
