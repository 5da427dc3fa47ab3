"""Units of work: each fails alone, all of a group are on disk together, in their order."""

import asyncio
import itertools
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import event, func, insert, select

from gpukeeper.domain.errors import StoreUnavailable
from gpukeeper.store.db.database import Connection, Database, StoreError
from gpukeeper.store.tables import facts


class _Gate:
    """Holds the write thread, so that the units behind it queue up into one group."""

    def __init__(self) -> None:
        self._entered = threading.Event()
        self._opened = threading.Event()

    def unit(self, _connection: Connection) -> None:
        self._entered.set()
        assert self._opened.wait(10)

    async def until_entered(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, 10)

    def open(self) -> None:
        self._opened.set()


def _keep(key: str) -> Callable[[Connection], str]:
    def unit(connection: Connection) -> str:
        connection.execute(insert(facts), {"key": key, "body": "{}"})
        return key

    return unit


def _keep_and_fail(key: str) -> Callable[[Connection], str]:
    def unit(connection: Connection) -> str:
        _keep(key)(connection)
        raise LookupError(key)

    return unit


# What a new database has in the table says who works on its schema.
_KEPT = select(facts.c.key).where(facts.c.key != "schema").order_by(facts.c.key)


async def _kept(database: Database) -> list[str]:
    return await database.read(lambda c: list(c.scalars(_KEPT)))


async def _together(
    database: Database, *units: Callable[[Connection], str]
) -> list[str | BaseException]:
    """Run units that have queued up behind one that is under way."""
    gate = _Gate()
    first = asyncio.create_task(database.write(gate.unit))
    await gate.until_entered()
    tasks = [asyncio.create_task(database.write(unit)) for unit in units]
    await asyncio.sleep(0)
    gate.open()
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)


def _counting_commits(database: Database) -> list[str]:
    commits: list[str] = []
    event.listen(database.engine, "commit", lambda connection: commits.append("commit"))
    return commits


async def test_a_unit_returns_its_result_once_it_can_be_read(database: Database) -> None:
    assert await database.write(_keep("a")) == "a"
    assert await _kept(database) == ["a"]


async def test_units_that_queue_up_share_one_commit_and_keep_their_order(
    sqlite_database: Database,
) -> None:
    keys = [f"key-{number:03}" for number in range(60)]
    commits = _counting_commits(sqlite_database)
    assert await _together(sqlite_database, *map(_keep, keys)) == keys
    assert await _kept(sqlite_database) == keys
    assert len(commits) == 2


async def test_more_units_than_a_group_holds_are_committed_in_several(
    sqlite_database: Database,
) -> None:
    keys = [f"key-{number:03}" for number in range(300)]
    commits = _counting_commits(sqlite_database)
    assert await _together(sqlite_database, *map(_keep, keys)) == keys
    assert await _kept(sqlite_database) == keys
    assert len(commits) == 4


async def test_a_unit_that_fails_undoes_itself_and_no_other(sqlite_database: Database) -> None:
    outcomes = await _together(sqlite_database, _keep("a"), _keep_and_fail("b"), _keep("c"))
    assert outcomes[0::2] == ["a", "c"]
    assert isinstance(outcomes[1], LookupError)
    assert await _kept(sqlite_database) == ["a", "c"]


async def test_a_statement_that_the_database_refuses_undoes_its_unit_alone(
    sqlite_database: Database,
) -> None:
    outcomes = await _together(sqlite_database, _keep("a"), _keep("a"), _keep("c"))
    assert outcomes[0::2] == ["a", "c"]
    assert isinstance(outcomes[1], StoreError)
    assert await _kept(sqlite_database) == ["a", "c"]


async def test_the_unit_of_a_caller_that_was_cancelled_is_stored_nevertheless(
    sqlite_database: Database,
) -> None:
    gate = _Gate()
    first = asyncio.create_task(sqlite_database.write(gate.unit))
    await gate.until_entered()
    cancelled = asyncio.create_task(sqlite_database.write(_keep("a")))
    failing = asyncio.create_task(sqlite_database.write(_keep_and_fail("b")))
    await asyncio.sleep(0)
    cancelled.cancel()
    failing.cancel()
    gate.open()
    await first
    assert await sqlite_database.write(_keep("c")) == "c"
    assert await _kept(sqlite_database) == ["a", "c"]
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    with pytest.raises(asyncio.CancelledError):
        await failing


async def test_a_commit_that_fails_reaches_everyone_of_its_group_and_nobody_else(
    sqlite_database: Database,
) -> None:
    commits = itertools.count(1)

    def fail_the_second(_connection: Connection) -> None:
        if next(commits) == 2:
            raise OSError("the disk is full")

    event.listen(sqlite_database.engine, "commit", fail_the_second)
    outcomes = await _together(sqlite_database, _keep("a"), _keep_and_fail("b"), _keep("c"))
    assert [type(outcome) for outcome in outcomes] == [OSError] * 3
    assert await sqlite_database.write(_keep("d")) == "d"
    assert await _kept(sqlite_database) == ["d"]


async def test_a_reading_unit_sees_one_snapshot_and_cannot_write(database: Database) -> None:
    def look_twice(connection: Connection) -> tuple[int, int]:
        count = select(func.count()).select_from(_KEPT.subquery())
        before = connection.scalar(count)
        asyncio.run_coroutine_threadsafe(database.write(_keep("a")), loop).result(10)
        return before or 0, connection.scalar(count) or 0

    loop = asyncio.get_running_loop()
    assert await database.read(look_twice) == (0, 0)
    assert await _kept(database) == ["a"]
    with pytest.raises(StoreUnavailable, match="written to"):
        await database.read(_keep("b"))
    assert await _kept(database) == ["a"]


async def test_closing_finishes_what_is_queued_and_takes_no_more(database: Database) -> None:
    gate = _Gate()
    first = asyncio.create_task(database.write(gate.unit))
    await gate.until_entered()
    queued = asyncio.create_task(database.write(_keep("a")))
    await asyncio.sleep(0)
    closing = asyncio.create_task(asyncio.to_thread(database.close))
    gate.open()
    await closing
    await first
    assert await queued == "a"
    with pytest.raises(RuntimeError):
        await database.write(_keep("b"))
    with pytest.raises(RuntimeError):
        await database.read(_keep("b"))
    database.close()


async def test_an_error_of_the_database_does_not_quote_what_was_to_be_stored(
    database: Database,
) -> None:
    await database.write(_keep("canary"))
    with pytest.raises(StoreError) as failure:
        await database.write(_keep("canary"))
    assert "canary" not in str(failure.value)
