"""A backup is complete, private, and never written over anything."""

import asyncio
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from gpukeeper.store import migrations
from gpukeeper.store.backup import copy
from gpukeeper.store.database import Database, StoreError, sqlite_url
from tests.store.rows import an_instance, stored


def count(path: Path) -> int:
    """Return how many instances a copy has, after a check of all of it."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        (number,) = connection.execute("SELECT count(*) FROM instances").fetchone()
    return int(number)


async def test_a_copy_that_is_made_while_rows_are_written_is_whole(tmp_path: Path) -> None:
    source, target = tmp_path / "gpukeeper.db", tmp_path / "copy.db"
    database = Database(sqlite_url(source))
    migrations.upgrade(database.engine)
    await stored(database, *(an_instance(number) for number in range(100)))

    async def write() -> None:
        for number in range(100, 200):
            await stored(database, an_instance(number))

    writing = asyncio.create_task(write())
    size = await asyncio.to_thread(copy, source, target)
    await writing
    database.close()
    assert 100 <= count(target) <= 200
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert size == target.stat().st_size
    assert sorted(name for name in os.listdir(tmp_path) if "copy" in name) == ["copy.db"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    source, target = tmp_path / "a.db", tmp_path / "b.db"
    target.write_text("precious")
    with pytest.raises(FileExistsError):
        copy(source, target)
    assert target.read_text() == "precious"


def test_a_copy_that_fails_leaves_no_file(tmp_path: Path) -> None:
    source, target = tmp_path / "a.db", tmp_path / "b.db"
    source.write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="not a database"):
        copy(source, target)
    assert not target.exists()
