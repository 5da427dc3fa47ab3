"""A backup is complete, private, and never written over anything."""

import asyncio
import errno
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gpukeeper.store import migrations
from gpukeeper.store.db.backup import copy
from gpukeeper.store.db.database import Database, StoreError, sqlite_url
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


def write_until(may_end: threading.Event, path: Path) -> threading.Thread:
    """Commit again and again, as others do while a copy is made."""

    def write() -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            while not may_end.is_set():
                connection.execute("UPDATE facts SET body = body")

    thread = threading.Thread(target=write)
    thread.start()
    return thread


def a_store(path: Path) -> None:
    """Make a store with some rows."""
    with closing(Database(sqlite_url(path))) as database:
        migrations.upgrade(database.engine)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO facts (key, body) VALUES (?, ?)",
            [(f"fact {number}", "x" * 500) for number in range(20_000)],
        )
        connection.execute("COMMIT")


def test_a_copy_is_not_begun_again_by_what_others_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "a.db"
    a_store(source)
    steps: list[int] = []

    class Connection(sqlite3.Connection):
        def backup(self, target: sqlite3.Connection, **options: Any) -> None:
            super().backup(target, progress=lambda *_: steps.append(1), **options)

    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *given, **also: connect(*given, factory=Connection, **also)
    )
    may_end = threading.Event()
    writer = write_until(may_end, source)
    try:
        copy(source, tmp_path / "b.db")
    finally:
        may_end.set()
        writer.join()
    assert len(steps) == 1


def test_a_copy_that_is_damaged_is_not_kept(tmp_path: Path) -> None:
    source, target = tmp_path / "a.db", tmp_path / "b.db"
    a_store(source)
    with source.open("r+b") as file:
        file.seek(200 * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(StoreError, match=r"damaged|malformed"):
        copy(source, target)
    assert os.listdir(tmp_path) == ["a.db"]


def test_a_file_that_comes_while_the_copy_is_made_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "a.db", tmp_path / "b.db"
    a_store(source)
    fsync = os.fsync

    def sync(descriptor: int) -> None:
        fsync(descriptor)
        target.write_text("precious")

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(FileExistsError):
        copy(source, target)
    assert target.read_text() == "precious"
    assert sorted(os.listdir(tmp_path)) == ["a.db", "b.db"]


@pytest.mark.parametrize("is_taken", [False, True])
def test_a_file_system_without_links_gets_its_copy_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_taken: bool
) -> None:
    source, target = tmp_path / "a.db", tmp_path / "b.db"
    a_store(source)

    def link(*_: object) -> None:
        if is_taken:
            target.write_text("precious")
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "link", link)
    if is_taken:
        with pytest.raises(FileExistsError):
            copy(source, target)
        assert target.read_text() == "precious"
    else:
        copy(source, target)
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(os.listdir(tmp_path)) == ["a.db", "b.db"]


def test_an_error_of_the_disk_is_handed_on_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "a.db"
    a_store(source)

    def link(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError, match="Input/output"):
        copy(source, tmp_path / "b.db")
    assert os.listdir(tmp_path) == ["a.db"]


# The one step never ends by itself: what it waits for is not given.
_STUCK = """
import sys, threading
from pathlib import Path
from typing import Any
from gpukeeper import config, process
from gpukeeper.store.db import backup
backup._copy = lambda *_: (print("copying", flush=True), threading.Event().wait())
settings = config.load({"NOVITA_API_KEY": "k", "GPUKEEPER_DATA_DIR": sys.argv[1]}, env_file=None)
process.backup(settings, Path(sys.argv[2]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_copy_at_once_and_nothing_is_left(
    tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "gpukeeper.db").touch()
    (tmp_path / "to").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", _STUCK, tmp_path / "data", tmp_path / "to" / "copy.db"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"copying\n"
        assert len(os.listdir(tmp_path / "to")) == 1
        process.send_signal(number)
        assert process.wait(timeout=30) != 0
    assert os.listdir(tmp_path / "to") == []
