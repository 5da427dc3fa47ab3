"""A damaged file is said to be one: nothing else of it is believed until all of it can be read."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from gpukeeper.domain.errors import StoreUnavailable
from gpukeeper.service.health import Vitals, examine_health
from gpukeeper.store import facts, migrations
from gpukeeper.store.db import integrity_check
from gpukeeper.store.db.database import Connection, Database, sqlite_url
from gpukeeper.store.db.integrity_check import check_integrity, find_damage
from gpukeeper.store.db.outages import describe_outage, is_damage
from tests.store.rows import NOW

PAGE_BYTES = 4096


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    """Give a database with many rows of one table."""
    with closing(Database(sqlite_url(path))) as database:
        migrations.upgrade(database.engine)
        with database.engine.begin() as connection:
            for number in range(2_000):
                connection.execute(
                    text("INSERT INTO facts (key, body) VALUES (:key, :body)"),
                    {"key": f"test {number:04}", "body": "x" * 400},
                )
        database.engine.dispose()
        yield database


def pages_of(path: Path, table: str) -> tuple[int, ...]:
    """Return the leaves of a table, as far as one page lists them: those that hold rows."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        (root,) = connection.execute(query, (table,)).fetchone()
    page = page_at(path, root)
    cells = int.from_bytes(page[3:5], "big")
    places = [int.from_bytes(page[12 + 2 * n : 14 + 2 * n], "big") for n in range(cells)]
    return tuple(int.from_bytes(page[at : at + 4], "big") for at in places)


def page_at(path: Path, number: int) -> bytes:
    """Return a page, the first of which is 1."""
    return path.read_bytes()[(number - 1) * PAGE_BYTES : number * PAGE_BYTES]


def overwrite(path: Path, number: int, content: bytes) -> None:
    """Put something else where a page was."""
    with path.open("r+b") as file:
        file.seek((number - 1) * PAGE_BYTES)
        file.write(content)


def read_all(connection: Connection) -> int:
    """Read every row of the table."""
    return len(connection.execute(text("SELECT body FROM facts NOT INDEXED")).all())


def change_all(connection: Connection) -> None:
    """Write every row of the table."""
    connection.execute(text("UPDATE facts SET body = body || 'y' WHERE key LIKE 'test%'"))


def touch(connection: Connection) -> None:
    """Be what readiness tries: the fact that is touched is on a page that is whole."""
    facts.touch(connection, NOW)


@pytest.mark.parametrize("unit", [read_all, change_all])
async def test_damage_that_a_unit_meets_lasts_until_all_of_the_file_can_be_read(
    database: Database, path: Path, unit: Callable[[Connection], object]
) -> None:
    told: list[str | None] = []
    database.on_trouble(told.append)
    number = pages_of(path, "facts")[3]
    whole = page_at(path, number)
    overwrite(path, number, b"\xff" * PAGE_BYTES)
    run = database.read if unit is read_all else database.write
    assert await database.trouble(touch) is None
    with pytest.raises(StoreUnavailable, match="the database is damaged"):
        await run(unit)
    # Another place can be written, which proves nothing.
    for _ in range(3):
        await database.write(touch)
        found = await database.trouble(touch, patience_seconds=30)
        assert (
            found == "Nothing can be stored at present: the database is damaged: restore a backup."
        )
    overwrite(path, number, whole)
    assert await database.trouble(touch, patience_seconds=30) is None
    await run(unit)
    assert len(told) == 2
    assert told[1] is None


async def test_what_could_not_be_read_is_well_when_it_can_be_read_and_not_before(
    database: Database,
) -> None:
    is_well = False

    def read(connection: Connection) -> str:
        if not is_well:
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise wrapped(error)
        return "read"

    with pytest.raises(StoreUnavailable):
        await database.read(read)
    found = await database.trouble(touch, patience_seconds=30)
    assert found is not None
    assert "cannot be opened" in found
    is_well = True
    assert await database.trouble(touch, patience_seconds=30) is None
    assert await database.read(read) == "read"


def wrapped(error: sqlite3.Error) -> Exception:
    """Return an error as SQLAlchemy hands it on."""
    from sqlalchemy.exc import DatabaseError, OperationalError

    kind = OperationalError if isinstance(error, sqlite3.OperationalError) else DatabaseError
    return kind("", {}, error)


@pytest.mark.parametrize(
    ("code", "said", "lasts"),
    [
        (sqlite3.SQLITE_CORRUPT, "damaged", True),
        (sqlite3.SQLITE_CORRUPT_INDEX, "damaged", True),
        (sqlite3.SQLITE_NOTADB, "not a database", True),
        (sqlite3.SQLITE_IOERR_READ, "cannot be read or written", True),
        (sqlite3.SQLITE_IOERR_LOCK, "no locks", False),
        (sqlite3.SQLITE_IOERR_SHMMAP, "no locks", False),
        (sqlite3.SQLITE_PROTOCOL, "no locks", False),
        (sqlite3.SQLITE_NOLFS, "no file as large", False),
        (sqlite3.SQLITE_FULL, "the disk is full", False),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "locked by another process", False),
        (sqlite3.SQLITE_CANTOPEN, "cannot be opened", False),
        (sqlite3.SQLITE_PERM, "cannot be opened", False),
        (sqlite3.SQLITE_READONLY_DIRECTORY, "cannot be written to", False),
    ],
)
def test_every_result_that_is_not_our_fault_has_its_sentence(
    code: int, said: str, lasts: bool
) -> None:
    cause = sqlite3.DatabaseError("in SQLite's words")
    cause.sqlite_errorcode = code
    error = wrapped(cause)
    assert said in (describe_outage(error) or "")
    assert is_damage(error) is lasts


def test_a_sound_file_is_said_to_be_sound(database: Database, path: Path) -> None:
    assert find_damage(path) is None


def test_damage_in_any_page_is_found(database: Database, path: Path) -> None:
    overwrite(path, pages_of(path, "facts")[0], b"\0" * PAGE_BYTES)
    assert find_damage(path) is not None


async def test_a_service_that_meets_damage_is_not_ready_until_the_file_is_whole_again(
    database: Database, path: Path
) -> None:
    number = pages_of(path, "facts")[3]
    whole = page_at(path, number)
    overwrite(path, number, b"\xff" * PAGE_BYTES)
    with pytest.raises(StoreUnavailable):
        await database.read(read_all)
    for _ in range(2):
        health = await examine_health(database, Vitals(), NOW, about={}, is_brief=True)
        sentence = "Nothing can be stored at present: the database is damaged: restore a backup."
        assert health.problems == (sentence,)
    overwrite(path, number, whole)
    await database.trouble(touch, patience_seconds=30)
    assert (await examine_health(database, Vitals(), NOW, about={}, is_brief=True)).is_ready


def test_a_file_that_is_no_database_any_more_is_not_proven_sound(
    database: Database, path: Path
) -> None:
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreUnavailable, match="not a database"):
        check_integrity(path)


def test_a_file_that_takes_too_long_to_read_is_not_waited_for(
    database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity_check, "_STEPS", 1)
    overwrite(path, pages_of(path, "facts")[-1], b"\0" * PAGE_BYTES)
    assert find_damage(path, patience_seconds=0) is None
