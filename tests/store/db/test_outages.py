"""A database that cannot work says so, stores nothing by halves, and goes on when it can again."""

import asyncio
import gc
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import event, func, insert, select
from sqlalchemy.exc import OperationalError, StatementError

from gpukeeper.domain.errors import StoreUnavailable
from gpukeeper.store import facts, migrations, tables
from gpukeeper.store.db.database import Connection, Database, sqlite_url
from gpukeeper.store.db.outages import describe_outage

NOW = datetime(2026, 1, 1, tzinfo=UTC)
# More than any page of the file has room for.
BIG = "x" * 100_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the database is."""
    return tmp_path / "trouble.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """Give a database that may have no more pages than it has now."""
    with closing(Database(sqlite_url(path))) as database:
        migrations.upgrade(database.engine)
        with database.engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

        def limit(connection: Connection) -> None:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

        event.listen(database.engine, "begin", limit)
        yield database


def keep(key: str, body: str = "") -> Callable[[Connection], str]:
    """Return a unit that stores a fact."""

    def unit(connection: Connection) -> str:
        connection.execute(insert(tables.facts).values(key=key, body=body))
        return key

    return unit


async def test_a_full_disk_is_an_error_that_says_so(database: Database) -> None:
    with pytest.raises(StoreUnavailable, match="the disk is full") as failure:
        await database.write(keep("big", BIG))
    assert failure.value.error_code == "store_unavailable"
    assert BIG not in str(failure.value)


async def test_what_was_to_be_committed_with_it_is_not_stored_either_and_is_told_so(
    database: Database,
) -> None:
    units = [keep("one"), keep("big", BIG), keep("two")]
    writes = [asyncio.create_task(database.write(unit)) for unit in units]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    kept = tables.facts.c.key.in_(["one", "big", "two"])
    count = await database.read(lambda c: c.scalar(select(func.count()).where(kept)))
    stored = [outcome for outcome in outcomes if not isinstance(outcome, StoreUnavailable)]
    assert isinstance(outcomes[1], StoreUnavailable)
    assert count == len(stored)


async def test_trouble_lasts_until_something_can_be_stored(database: Database, path: Path) -> None:
    def touch(connection: Connection) -> None:
        facts.touch(connection, NOW)

    assert await database.trouble(touch) is None
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        database.engine.dispose()
        event.listen(database.engine, "connect", be_impatient)
        with pytest.raises(StoreUnavailable, match="locked by another process"):
            await database.write(touch)
        assert "locked" in (await database.trouble(touch) or "")
        assert "locked" in (await database.trouble(touch, patience_seconds=0) or "")
        other.execute("ROLLBACK")
    assert await database.trouble(touch) is None
    assert await database.trouble(fail_if_asked) is None


async def test_a_failure_that_nobody_waits_for_any_more_is_not_reported_as_forgotten(
    database: Database,
) -> None:
    forgotten: list[object] = []
    loop = asyncio.get_running_loop()
    usual = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: forgotten.append(context))
    may_go_on = threading.Event()

    def fail_later(connection: Connection) -> None:
        may_go_on.wait()
        raise LookupError

    abandoned = asyncio.create_task(database.write(fail_later))
    await asyncio.sleep(0)
    abandoned.cancel()
    await asyncio.wait([abandoned])
    del abandoned
    may_go_on.set()
    database.close()
    # One turn of the loop for the failure to arrive, and one for what waited for it.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()
    loop.set_exception_handler(usual)
    assert forgotten == []


def test_errors_of_another_kind_are_not_taken_for_trouble() -> None:
    assert describe_outage(LookupError()) is None
    assert (
        describe_outage(OperationalError("", {}, sqlite3.OperationalError("no such table"))) is None
    )
    assert describe_outage(StatementError("", "", {}, None)) is None


def be_impatient(connection: sqlite3.Connection, record: object) -> None:
    """Do not wait for the lock."""
    connection.execute("PRAGMA busy_timeout = 0").close()


def fail_if_asked(connection: Connection) -> None:
    """Be written only by mistake."""
    raise AssertionError
