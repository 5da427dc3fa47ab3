"""What only SQLite has: a file, its journal, and other processes that use it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gpukeeper.domain.errors import StoreUnavailable
from gpukeeper.store import facts, migrations
from gpukeeper.store.db import database as module
from gpukeeper.store.db.database import Connection, Database, StoreError, sqlite_url


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    """Give the connection of another process to the same file, which is not in WAL mode yet."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as connection:
        connection.execute("CREATE TABLE theirs (number INTEGER)")
        yield connection


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the pauses that were made; none of them takes time."""
    made: list[float] = []
    monkeypatch.setattr(module, "sleep", made.append)
    return made


def _opened(path: Path) -> None:
    with closing(Database(sqlite_url(path))) as database, database.engine.connect() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        assert mode == "wal"


def test_a_file_is_found_whatever_characters_its_path_has(tmp_path: Path) -> None:
    folder = tmp_path / "a?b#c%20d e"
    folder.mkdir()
    _opened(folder / "x.db")
    assert (folder / "x.db").stat().st_size > 0


async def test_commits_survive_a_power_cut_and_readers_do_not_wait_for_writers(
    path: Path,
) -> None:
    def pragmas(connection: Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "query_only", "busy_timeout")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    with closing(Database(sqlite_url(path))) as database:
        assert await database.write(pragmas) == ["wal", 2, 1, 0, 5000]
        assert await database.read(pragmas) == ["wal", 2, 1, 1, 5000]


def test_a_new_file_that_another_process_opens_at_the_same_time_is_waited_for(
    path: Path, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    other.execute("BEGIN")
    other.execute("SELECT * FROM theirs").fetchall()
    monkeypatch.setattr(module, "sleep", lambda seconds: other.execute("COMMIT"))
    _opened(path)


def test_a_file_that_is_never_let_go_of_is_an_error_after_some_seconds(
    path: Path, other: sqlite3.Connection, pauses: list[float]
) -> None:
    other.execute("BEGIN")
    other.execute("SELECT * FROM theirs").fetchall()
    with pytest.raises(StoreError, match="locked"):
        _opened(path)
    assert sum(pauses) == pytest.approx(4.9)


def test_a_file_that_is_no_database_is_an_error_at_once(path: Path, pauses: list[float]) -> None:
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(StoreError, match="not a database"):
        _opened(path)
    assert pauses == []


async def test_another_process_that_keeps_writing_is_an_error_and_then_all_is_well(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WRITER_PRAGMAS", ())
    with closing(Database(sqlite_url(path))) as database:
        migrations.upgrade(database.engine)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="locked by another process"):
                await database.write(lambda connection: facts.ensure_mark(connection, "one"))
            other.execute("ROLLBACK")
            mark = await database.write(lambda connection: facts.ensure_mark(connection, "two"))
            assert mark == "two"
